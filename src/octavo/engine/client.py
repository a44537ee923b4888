"""The server's view of the engine: requests go in, token streams come out, and engines may die in between.

Owns every live request and decides which of them are in the engine. Knows nothing of processes: supervisor.py
tells it when an engine is ready, what it says, and how it died. Runs in the server's event loop.

    live = held       waiting here: there is no engine, or not so many may be in it together
         + in engine  submitted to the engine of this epoch, under a wire id of its own
"""

import asyncio
import dataclasses
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec

from octavo.core.errors import EngineError, OverloadedError
from octavo.core.grammar_spec import GrammarSpec
from octavo.core.messages import Abort, EngineStats, Ready, RequestOutput, StepFrame, Submit
from octavo.core.queue_bound import QueueBound
from octavo.core.request import Pooling
from octavo.core.sampling_params import SamplingParams
from octavo.engine.journal import MAX_REQUEST_ID_BYTES, StepRecord
from octavo.engine.streams import Deliveries, RequestStream, TokenGap
from octavo.engine.suspects import DeathCause, FatalStep, Suspects

DRAIN_RETRY_AFTER_SECONDS = 5
SHUTTING_DOWN = "The server is shutting down."
SET_ASIDE = "This request stopped the engine twice and was set aside; other requests were not affected."
MAX_WIRE_SUFFIX_BYTES = 16
_COUNTERS = (
    "num_steps",
    "num_preemptions",
    "num_prompt_tokens",
    "num_generation_tokens",
    "num_recomputed_tokens",
    "prefix_cache_queries",
    "prefix_cache_hits",
    "num_drafts",
    "num_draft_tokens",
    "num_accepted_tokens",
)

Send = Callable[[msgspec.Struct], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Death:
    """How an engine ended. step: the one it was in, None if it was between two."""

    cause: DeathCause
    step: StepRecord | None


class EngineFault(Exception):
    """The engine broke the protocol and must be replaced. step names the request it happened to."""

    def __init__(self, message: str, step: StepRecord | None = None) -> None:
        super().__init__(message)
        self.step = step


class EngineClient:
    """Made by EngineSupervisor.start; everything public is for the server, the rest for the supervisor."""

    def __init__(
        self,
        *,
        max_num_seqs: int,
        max_num_queued_requests: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fatal: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done, with the cause as a sentence, when there will be no engine any more."""
        self.on_step: Callable[[int, EngineStats], None] = lambda epoch, stats: None
        """Called at each step's end, with the running engine's own stats."""
        self._clock = clock
        self._bound = QueueBound(max_num_seqs, max_num_queued_requests)
        self._stop_engine: Callable[[], Awaitable[None]] | None = None
        self._info: Ready | None = None
        self._send: Send | None = None  # None while there is no engine
        self._num_epochs = 0
        self._num_frames = 0
        self._live: dict[RequestStream, str] = {}  # -> its wire id in this epoch, "" while held
        self._in_engine: dict[str, RequestStream] = {}  # by wire id
        self._wire_numbers = itertools.count()
        self._deliveries = Deliveries()
        self._suspects: Suspects[RequestStream] = Suspects()
        self._last_progress = clock()
        self._stats = EngineStats()
        self._stats_before = EngineStats()  # counters of the engines that have died
        self._is_draining = False
        self._is_drained = asyncio.Event()

    # What the server uses

    @property
    def info(self) -> Ready:
        """What the newest engine reported when it was ready."""
        assert self._info is not None, "EngineSupervisor.start returns only when the first engine is ready"
        return self._info

    @property
    def stats(self) -> EngineStats:
        """Gauges of now (requests held here count as waiting), counters since the server's start."""
        before, present = self._stats_before, self._stats
        counters = {name: getattr(before, name) + getattr(present, name) for name in _COUNTERS}
        num_held = len(self._live) - len(self._in_engine)
        return msgspec.structs.replace(present, num_waiting=present.num_waiting + num_held, **counters)

    @property
    def is_ready(self) -> bool:
        """There is an engine, and it takes requests."""
        return self._send is not None and not self._is_draining

    @property
    def num_restarts(self) -> int:
        return max(0, self._num_epochs - 1)

    @property
    def num_live(self) -> int:
        """Requests that have not ended, probes apart."""
        return sum(not stream.is_probe for stream in self._live)

    @property
    def seconds_since_progress(self) -> float:
        """How long requests have waited without a step's end; 0 while nothing is to be done."""
        return self._clock() - self._last_progress if self._live else 0.0

    def submit(
        self,
        prompt_token_ids: list[int],
        sampling: SamplingParams,
        *,
        request_id: str,
        seed: int,
        priority: int = 0,
        branch: int = 0,
        salt: str = "",
        is_probe: bool = False,
        fork_of: str | None = None,
        grammar: GrammarSpec | None = None,
        output_token_ids: Sequence[int] = (),
        tenant: str = "",
        pooling: Pooling | None = None,
    ) -> RequestStream:
        """Generate: a stream of the answer's tokens. fork_of: id of a live request with the same prompt.
        pooling: an embedding of the prompt instead, in the only output.

        output_token_ids are those that were generated before, elsewhere: the stream begins after them.

        tenant: whose request it is; queue and engine are shared fairly between tenants, if there are any.

        Raises OverloadedError when the queue is full or the server drains, RateLimitError when the tenant's
        share of it is, EngineError when there will be no engine any more, ValueError for a request id of more
        than 239 bytes or with a zero byte.
        """
        _check_request_id(request_id)
        now = self._clock()
        if self.fatal.done():
            raise EngineError(self.fatal.result())
        if self._is_draining:
            raise OverloadedError(SHUTTING_DOWN, retry_after_seconds=DRAIN_RETRY_AFTER_SECONDS)
        if not is_probe:
            self._bound.check(self.num_live, now, num_of_tenant=self._num_of(tenant) if tenant else None)
        submission = Submit(
            request_id=request_id,
            token_ids=[*prompt_token_ids, *output_token_ids],
            num_prompt_tokens=len(prompt_token_ids),
            sampling=sampling,
            seed=seed,
            arrival=now,
            priority=priority,
            branch=branch,
            salt=salt,
            is_probe=is_probe,
            fork_of=fork_of,
            grammar=grammar,
            tenant=tenant,
            pooling=pooling,
        )
        if not self._live:
            self._last_progress = now
        stream = RequestStream(submission, self._abort, self._deliveries)
        self._live[stream] = ""
        self._fill_engine([stream])
        return stream

    def _num_of(self, tenant: str) -> int:
        return sum(stream.tenant == tenant for stream in self._live)

    async def drain(self, seconds: float) -> int:
        """Take no more requests and give the others so long to end. Returns how many have not."""
        self._is_draining = True
        if self.num_live:
            try:
                await asyncio.wait_for(self._is_drained.wait(), seconds)
            except TimeoutError:
                return self.num_live
        return 0

    async def close(self) -> None:
        """End the engine process; requests that are still live fail."""
        self._is_draining = True
        if self._stop_engine is not None:
            await self._stop_engine()
        self._send = None
        self._fail_all(SHUTTING_DOWN)

    # Which requests are in the engine

    def _fill_engine(self, held: Iterable[RequestStream]) -> None:
        """Submit of the held requests, in this order, as many as may be in the engine."""
        if self._send is None:
            return
        for stream in held:
            if self._suspects.window is not None and len(self._in_engine) >= self._suspects.window:
                break
            wire_id = f"{stream.request_id}~{next(self._wire_numbers)}"
            self._live[stream] = wire_id
            self._in_engine[wire_id] = stream
            self._send(
                stream.submission(
                    wire_id,
                    is_suspect=self._suspects.is_suspect(stream),
                    fork_of=self._wire_id(stream.fork_of) if stream.fork_of is not None else None,
                )
            )

    def _wire_id(self, request_id: str) -> str | None:
        """Of the newest request that goes by this id; None when it is not in the engine."""
        for stream, wire_id in reversed(self._live.items()):
            if stream.request_id == request_id:
                return wire_id or None
        return None

    def _held(self) -> list[RequestStream]:
        """The one that has waited longest comes first."""
        held = [stream for stream, wire_id in self._live.items() if not wire_id]
        return sorted(held, key=lambda stream: stream.last_progress)

    def _abort(self, stream: RequestStream) -> None:
        """Its consumer is gone; what the engine still sends of it is dropped."""
        wire_id = self._live[stream]
        if wire_id and self._send is not None:
            self._send(Abort([wire_id]))
        self._drop(stream)

    def _drop(self, stream: RequestStream) -> None:
        """A request has ended."""
        had_window = self._suspects.window is not None
        self._in_engine.pop(self._live.pop(stream), None)
        self._suspects.forget(stream)
        if had_window:
            self._fill_engine(self._held())
        if self._is_draining and not self.num_live:
            self._is_drained.set()

    # What the supervisor reports

    @property
    def is_working(self) -> bool:
        """The engine owes an answer."""
        return bool(self._in_engine)

    @property
    def num_frames(self) -> int:
        """Moves with each step of each engine."""
        return self._num_frames

    def engine_started(self, ready: Ready, send: Send) -> None:
        """A new engine is ready: all that lives goes to it. Raises EngineFault if it has another model."""
        if self._info is not None and self._info.fingerprint != ready.fingerprint:
            raise EngineFault("the model's file has changed since the server was started")
        self._info = ready
        self._num_epochs += 1
        self._send = send
        self._last_progress = self._clock()
        self._fill_engine(self._held())

    def receive(self, frame: StepFrame) -> None:
        """Give out what one step produced. Raises EngineFault when a token is missing."""
        if self._send is None or frame.epoch != self.info.epoch:
            return
        self._num_frames += 1
        self._last_progress = self._clock()
        self._stats = frame.stats
        self.on_step(frame.epoch, frame.stats)
        for output in frame.outputs:
            stream = self._in_engine.get(output.request_id)
            if stream is not None:
                self._give_out(stream, output)

    def _give_out(self, stream: RequestStream, output: RequestOutput) -> None:
        try:
            stream.accept(output, self._last_progress)
        except TokenGap as gap:
            ids = (output.request_id,)
            raise EngineFault(str(gap), StepRecord(-1, ids, ids)) from gap
        if stream.has_ended:
            if not stream.is_probe:
                self._bound.record_end(self._last_progress)
            self._drop(stream)
        elif self._suspects.suspected and output.token_ids:
            self._suspects.acquit(stream)

    def engine_died(self, death: Death) -> bool:
        """The engine is dead and reaped. All its requests are held, except one that is found guilty.

        Returns whether one was: then the death will not repeat itself.
        """
        step = self._fatal_step(death.step)
        guilty = self._suspects.judge(death.cause, step) if step.num_requests else None
        self._send = None
        self._in_engine.clear()
        self._live = dict.fromkeys(self._live, "")
        self._add_to_counters_before()
        if guilty is not None:
            guilty.fail(EngineError(SET_ASIDE))
            self._drop(guilty)
        return guilty is not None

    def _fatal_step(self, record: StepRecord | None) -> FatalStep[RequestStream]:
        """A death between two steps counts as one in a step of all that was in the engine and nobody new."""
        if record is None:
            record = StepRecord(-1, tuple(self._in_engine), ())
        return FatalStep(
            requests=tuple(self._in_engine[id] for id in record.request_ids if id in self._in_engine),
            newcomers=tuple(self._in_engine[id] for id in record.new_request_ids if id in self._in_engine),
            num_requests=len(record.request_ids),
            num_newcomers=len(record.new_request_ids),
        )

    def _add_to_counters_before(self) -> None:
        total = self.stats
        self._stats_before = EngineStats(**{name: getattr(total, name) for name in _COUNTERS})
        self._stats = EngineStats()

    def gave_up(self, cause: str) -> None:
        """There will be no engine any more: everything live fails with the cause."""
        if not self.fatal.done():
            self.fatal.set_result(cause)
        self._send = None
        self._fail_all(cause)

    def _fail_all(self, cause: str) -> None:
        for stream in list(self._live):
            stream.fail(EngineError(cause))
            self._drop(stream)

    def on_close(self, stop_engine: Callable[[], Awaitable[None]]) -> None:
        """How close() ends the engine process."""
        self._stop_engine = stop_engine


def _check_request_id(request_id: str) -> None:
    limit = MAX_REQUEST_ID_BYTES - MAX_WIRE_SUFFIX_BYTES
    if len(request_id.encode()) > limit or "\0" in request_id:
        raise ValueError(f"a request id has at most {limit} bytes, none of them zero")
