"""A fleet in virtual time: the router's own choice in front of real engines whose back end only takes time.

Steps take what a formula says, with noise. What each engine believes of its steps is up to 30 % wrong at the
start, and a prompt's tokens have more bytes than the router assumes.
"""

import dataclasses
import heapq
import itertools
import random
import statistics
from collections.abc import Callable, Iterable

import numpy as np

from octavo.core.block_hash import BlockHash, extend_hashes, root_hash, short_hashes
from octavo.core.messages import EngineStats, RequestOutput, Submit
from octavo.core.relay import CacheEvent, KnownPrompt
from octavo.core.sampling_params import SamplingParams
from octavo.engine.core import EngineCore
from octavo.kv.manager import KVManager
from octavo.metrics.router_metrics import RouterMetrics
from octavo.router.cache_watch import apply
from octavo.router.demand import Demand
from octavo.router.endpoints import Endpoint, EndpointSet
from octavo.router.first_token_times import FirstTokenTimes
from octavo.router.knowledge import Knowledge
from octavo.router.load import Reservation
from octavo.router.prefix_index import CachedPrefixes, known_as
from octavo.router.routed_head import RoutedHead
from octavo.router.routed_request import BYTES_PER_TOKEN, RoutedRequest, prefix_hashes
from octavo.router.routing import Router, all_policies
from octavo.router.waiting_room import QueueLimits, WaitingRoom
from octavo.scheduler.scheduler import Scheduler
from octavo.scheduler.step_time import StepCost
from tools.fleet_simulation.baselines import BASELINES
from tools.fleet_simulation.timed_backend import TimedBackend
from tools.fleet_simulation.workloads import OUTPUT_TOKENS, VOCAB_SIZE, Arrival

MODEL = "simulated"
FINGERPRINT = b"simulated"
NUM_BLOCKS = 1500  # of each replica: 24,000 tokens
MAX_NUM_SEQS = 32
COST = StepCost()  # a small model on a few cores: 2,500 prompt tokens a second
NOISE = 0.1  # of a step's time: relative standard deviation
BELIEF_ERROR = 0.3
REAL_BYTES_PER_TOKEN = 5


@dataclasses.dataclass(slots=True)
class Figures:
    """Of one policy with one workload."""

    first_token_seconds: list[float] = dataclasses.field(default_factory=list)
    num_prompt_tokens: int = 0
    num_cached_tokens: int = 0
    num_output_tokens: int = 0
    end_seconds: float = 0.0
    routes: list[tuple[float, str]] = dataclasses.field(default_factory=list)  # seconds, endpoint

    @property
    def hit_rate(self) -> float:
        return self.num_cached_tokens / self.num_prompt_tokens

    @property
    def p50(self) -> float:
        return statistics.median(self.first_token_seconds)

    @property
    def p99(self) -> float:
        return sorted(self.first_token_seconds)[int(0.99 * (len(self.first_token_seconds) - 1))]

    @property
    def tokens_per_second(self) -> float:
        return self.num_output_tokens / self.end_seconds


@dataclasses.dataclass(slots=True)
class Running:
    arrival: Arrival
    on_first_token: Callable[[float], None]
    reservation: Reservation
    output_ids: list[int] = dataclasses.field(default_factory=list)


class Replica:
    """An engine that is told when its step begins, and says when it ends."""

    def __init__(self, number: int, lots: random.Random, slowness: float) -> None:
        self.endpoint = Endpoint(f"http://127.0.0.1:{1 + number}", name=f"r{number}")
        self.endpoint.cards[MODEL] = {"id": MODEL}
        self.endpoint.is_ready = True
        self.running: dict[str, Running] = {}
        self.is_stepping = False
        self._lots = lots
        self._slowness = slowness
        self._now = 0.0
        self._step_seconds = 0.0
        believed = StepCost(
            *(value * (1 + BELIEF_ERROR * lots.uniform(-1, 1)) for value in dataclasses.astuple(COST))
        )
        self._core = EngineCore(
            Scheduler(
                KVManager(NUM_BLOCKS, 0),
                max_num_seqs=MAX_NUM_SEQS,
                max_num_batched_tokens=512,
                step_cost=believed,
            ),
            TimedBackend(
                first_token=lots.randrange(VOCAB_SIZE),
                vocab_size=VOCAB_SIZE,
                sleep=self._sleep,
                step_seconds=self._duration,
            ),
            max_model_len=16 * NUM_BLOCKS,
            vocab_size=VOCAB_SIZE,
            eos_token_ids=frozenset(),
            fingerprint=FINGERPRINT,
            clock=lambda: self._now,
        )

    def _duration(self, num_tokens: int, num_context_tokens: int, num_requests: int) -> float:
        seconds = COST.per_step + COST.per_token * num_tokens + COST.per_request * num_requests
        seconds += COST.per_context_token * num_context_tokens
        return seconds * self._slowness * max(0.5, self._lots.gauss(1, NOISE))

    def _sleep(self, seconds: float) -> None:
        self._step_seconds = seconds

    @property
    def has_work(self) -> bool:
        return self._core.has_work

    def add(self, name: str, running: Running, now: float) -> None:
        self.running[name] = running
        token_ids = running.arrival.token_ids
        sampling = SamplingParams(temperature=0, max_tokens=OUTPUT_TOKENS)
        self._core.add(Submit(name, token_ids, len(token_ids), sampling, seed=int(name), arrival=now))

    def step(self, now: float) -> tuple[float, list[RequestOutput], EngineStats]:
        """When it ends, and what it gives then."""
        self._now, self._step_seconds = now, 0.0
        outputs, stats = self._core.step()
        return now + self._step_seconds, outputs, stats


class Simulation:
    def __init__(
        self,
        policy_name: str,
        num_replicas: int,
        *,
        slowness: float,
        seed: int,
        has_events: bool = True,
        last_joins_at: float = 0.0,
    ) -> None:
        """slowness: of replica 0. has_events: replicas tell what their caches hold. last_joins_at: seconds,
        when the last replica is there."""
        self._has_events = has_events
        self._now = 0.0
        knowledge = Knowledge(
            FirstTokenTimes(self._clock), CachedPrefixes(clock=self._clock), Demand(self._clock)
        )
        self._prefixes = knowledge.prefixes
        policy = (all_policies(knowledge) | {name: make() for name, make in BASELINES.items()})[policy_name]
        replicas = [
            Replica(number, random.Random(f"{seed} {number}"), slowness if number == 0 else 1.0)
            for number in range(num_replicas)
        ]
        self._replicas = {replica.endpoint: replica for replica in replicas}
        endpoints = EndpointSet([replica.endpoint for replica in replicas])
        self._router = Router(
            endpoints,
            {policy.name: policy},
            policy.name,
            retry_after_seconds=1,
            knowledge=knowledge,
            room=WaitingRoom(QueueLimits(), RouterMetrics()),
            lots=random.Random(seed),
        )
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._names = itertools.count()
        self._figures = Figures()
        last = replicas[-1].endpoint
        last.is_ready = False
        self._at(last_joins_at, lambda now: setattr(last, "is_ready", True))

    def run(self, arrivals: Iterable[Arrival]) -> Figures:
        """Until everything is answered."""
        for arrival in arrivals:
            self._schedule(arrival)
        while self._events:
            now, _, act = heapq.heappop(self._events)
            self._now = now
            act(now)
            self._figures.end_seconds = now
        return self._figures

    def _clock(self) -> float:
        return self._now

    def _schedule(self, arrival: Arrival) -> None:
        self._at(arrival.seconds, lambda now: self._route(arrival, now))

    def _at(self, seconds: float, act: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (seconds, next(self._order), act))

    def _route(self, arrival: Arrival, now: float) -> None:
        name = str(next(self._names))
        request = _routed(arrival, name)
        route = self._router.route(request)
        assert route is not None
        replica = self._replicas[route.endpoint]
        self._figures.routes.append((now, replica.endpoint.name))
        reservation = Reservation(replica.endpoint.load, route.num_missing_tokens)

        def on_first_token(seconds: float) -> None:
            reservation.first_token()
            self._router.observe_first_token(route, request, seconds)

        if self._has_events:
            apply(replica.endpoint, CacheEvent(0, prompts=[_known(arrival, request)]), self._prefixes)
        replica.add(name, Running(arrival, on_first_token, reservation), now)
        if not replica.is_stepping:
            self._step(replica, now)

    def _step(self, replica: Replica, now: float) -> None:
        replica.is_stepping = replica.has_work
        if replica.is_stepping:
            end, outputs, stats = replica.step(now)
            self._at(end, lambda now: self._finish_step(replica, outputs, stats, now))

    def _finish_step(
        self, replica: Replica, outputs: list[RequestOutput], stats: EngineStats, now: float
    ) -> None:
        if self._has_events:
            event = CacheEvent(0, False, stats.cached_blocks, stats.forgotten_blocks)
            apply(replica.endpoint, event, self._prefixes)
        for output in outputs:
            assert output.error is None, output.error
            running = replica.running[output.request_id]
            if output.token_ids and not running.output_ids:
                self._count(running, output, now)
            running.output_ids += output.token_ids
            if output.finish_reason is not None:
                del replica.running[output.request_id]
                running.reservation.end()
                self._figures.num_output_tokens += len(running.output_ids)
                follow_up = running.arrival.follow_up(now, running.output_ids)
                if follow_up is not None:
                    self._schedule(follow_up)
        self._step(replica, now)

    def _count(self, running: Running, output: RequestOutput, now: float) -> None:
        seconds = now - running.arrival.seconds
        running.on_first_token(seconds)
        self._figures.first_token_seconds.append(seconds)
        self._figures.num_prompt_tokens += len(running.arrival.token_ids)
        self._figures.num_cached_tokens += output.num_cached_tokens


def _known(arrival: Arrival, request: RoutedRequest) -> KnownPrompt:
    hashes: list[BlockHash] = []
    extend_hashes(hashes, root_hash(FINGERPRINT), arrival.token_ids)
    prefix = known_as(request)
    return KnownPrompt(prefix.num_bytes, prefix.chunks, short_hashes(hashes))


def _routed(arrival: Arrival, name: str) -> RoutedRequest:
    """As the router would read it from a body in which a token takes five bytes."""
    digits = np.array(arrival.token_ids, "<u8").view(np.uint8).reshape(-1, 8)
    text = digits[:, :REAL_BYTES_PER_TOKEN].tobytes()
    return RoutedRequest(
        id=name,
        path="/v1/completions",
        model=MODEL,
        is_stream=True,
        body=b"",
        num_prompt_tokens=1 + len(text) // BYTES_PER_TOKEN,
        prefix=prefix_hashes(text, MODEL.encode()),
        head=RoutedHead(session=arrival.session),
    )
