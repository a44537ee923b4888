"""The servers a router stands in front of: what each serves, and whether it may be asked."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from types import TracebackType

from octavo.core.relay import ReplicaCard
from octavo.http.interruption import Interruptible, Interruption
from octavo.metrics.stack_metrics import ServerCounts
from octavo.router.address import Address
from octavo.router.aliases import Aliases
from octavo.router.breaker import CircuitBreaker
from octavo.router.load import Load, Reservation
from octavo.router.upstream import Upstream
from octavo.router.upstream_connection import UpstreamError

WRONG = "it answers a known question otherwise than replicas of the same model and numerics do"
FULL_USAGE = 0.95  # of the KV memory: with requests that wait, more of them would only wait there
REFUSED_SECONDS = 1.0  # for so long an endpoint that refused for load counts as busy


class Endpoint:
    """One server. health.py writes what it finds out; proxy.py reserves; policies read."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        static_models: Sequence[str] = (),
        breaker: CircuitBreaker | None = None,
        is_standby: bool = False,
        connect_seconds: float = 2.0,
    ) -> None:
        """static_models: what it serves, given by the operator; empty: it is asked. is_standby: it is asked
        only in place of another one. Raises ValueError."""
        self.url = url
        self.name = name
        self.upstream = Upstream(Address.parse(url), connect_seconds=connect_seconds)
        self.breaker = breaker or CircuitBreaker()
        self.load = Load()
        self.static_models = tuple(static_models)
        self.is_standby = is_standby
        self.cards: dict[str, dict[str, object]] = {
            model: {"id": model, "object": "model", "created": 0, "owned_by": name} for model in static_models
        }
        self.is_ready = False
        self.is_draining = False
        self.is_wrong = False  # known_answer.py: it computes something else than its like
        self.complaint = "it has not answered yet"
        self.card: ReplicaCard | None = None  # None: not an octavo replica, or we do not share its secret
        self.why_foreign = "not asked yet"  # why it has no card
        self.cached_blocks: set[bytes] | None = None  # short_hashes; None: it does not tell
        self.is_short_of_memory = False  # for KV blocks, and requests wait there
        self.memory_source = "unknown: not asked yet"  # how is_short_of_memory is known
        self._refused_at = -math.inf
        self._lifelines: set[Interruptible] = set()

    @property
    def is_available(self) -> bool:
        return self.is_ready and not (self.is_draining or self.is_wrong)

    @property
    def reason(self) -> str:
        """Why it is not available, or not asked though it is."""
        if not self.is_available:
            return "draining" if self.is_draining else WRONG if self.is_wrong else self.complaint
        return "short of memory" if self.is_short_of_memory else "busy"

    @property
    def streams(self) -> str:
        """What becomes of those under way here when it is lost, and why."""
        return f"end with it: {self.why_foreign}" if self.card is None else "go on elsewhere"

    def refused(self, now: float) -> None:
        """It says that it has too much to do."""
        self._refused_at = now

    def is_busy(self, now: float) -> bool:
        """By its own account: what is sent there would wait there."""
        return self.is_short_of_memory or now < self._refused_at + REFUSED_SECONDS

    @property
    def description(self) -> dict[str, object]:
        """What an operator is shown."""
        return {
            "name": self.name,
            "url": self.url,
            "ready": self.is_ready,
            "draining": self.is_draining,
            "wrong": self.is_wrong,
            "complaint": "" if self.is_available else self.reason,
            "short_of_memory": self.is_short_of_memory,
            "memory_source": self.memory_source,
            "breaker": self.breaker.state,
            "models": list(self.cards),
            "fingerprint": self.card and self.card.fingerprint,
            "streams": self.streams,
            "channel": self.upstream.channel is not None,
            "standby": self.is_standby,
            "requests": self.load.num_requests,
            "received": self.load.num_received,
            "reserved_tokens": self.load.num_tokens,
        }

    @property
    def counts(self) -> ServerCounts:
        """For metrics."""
        load = self.load
        return ServerCounts(
            self.url, self.is_available, load.num_requests, load.num_prompts, load.num_received
        )

    def reserved(self, num_prompt_tokens: int) -> Reservation:
        """For one request, which goes there now."""
        self.breaker.begin()
        return Reservation(self.load, num_prompt_tokens)

    def lifeline(self) -> "Lifeline":
        """What runs inside ends with UpstreamError when the endpoint is found to be lost."""
        return Lifeline(self._lifelines)

    def tie(self, stretch: Interruptible) -> None:
        """The same without a block: until untie()."""
        self._lifelines.add(stretch)

    def untie(self, stretch: Interruptible) -> None:
        self._lifelines.discard(stretch)

    def lose(self, complaint: str) -> None:
        """It no longer answers: what is under way there is broken off, to go on elsewhere."""
        self.complaint = complaint
        lines, self._lifelines = self._lifelines, set()
        for line in lines:
            line.interrupt(UpstreamError("gone", complaint))


@dataclasses.dataclass(frozen=True, slots=True)
class OnDemandModels:
    """Models that are started when somebody asks for them, which may take start_seconds. The router starts
    nothing: /debug/endpoints says how many wait, and whoever runs the replicas (`octavo up`) looks there."""

    names: frozenset[str] = frozenset()
    start_seconds: float = 120.0


class Lifeline(Interruption):
    """Among all of its endpoint, as long as something hangs on it."""

    def __init__(self, lines: set[Interruptible]) -> None:
        super().__init__()
        self._lines = lines

    def __enter__(self) -> "Lifeline":
        self._lines.add(self)
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lines.discard(self)
        super().__exit__(kind, error, traceback)


class EndpointSet:
    """Who can be asked for a model."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        aliases: Aliases | None = None,
        on_demand: OnDemandModels = OnDemandModels(),
    ) -> None:
        self.endpoints = list(endpoints)
        self._aliases = aliases or Aliases()
        self.on_demand = on_demand

    def resolve(self, name: str, key: Callable[[], bytes]) -> str:
        """The model that a name stands for. key: what it depends on where there are several."""
        return self._aliases.resolve(
            name, key, lambda model: model in self.on_demand.names or self._can_answer(model)
        )

    def _can_answer(self, model: str) -> bool:
        return any(endpoint.is_available for endpoint in self.serving(model))

    @property
    def models(self) -> dict[str, dict[str, object]]:
        """The cards of all models that can be asked for now, by name: the first endpoint's where several
        have it, aliases last."""
        cards: dict[str, dict[str, object]] = {}
        for endpoint in self.endpoints:
            for name, card in endpoint.cards.items():
                if endpoint.is_ready or name in self.on_demand.names:
                    cards.setdefault(name, card)
        for alias, model in self._aliases.shown(tuple(cards)).items():
            if alias not in cards:
                cards[alias] = {**cards[model], "id": alias, "root": model}
        return cards

    def counts(self) -> list[ServerCounts]:
        return [endpoint.counts for endpoint in self.endpoints]

    def serving(self, model: str) -> list[Endpoint]:
        """Those that have the model, ready or not."""
        return [endpoint for endpoint in self.endpoints if model in endpoint.cards]

    def candidates(self, model: str, is_fit: Callable[[Endpoint], bool] | None = None) -> list[Endpoint]:
        """Those to choose from. When every breaker is open none counts: a bad endpoint beats none.

        A standby is one of them in place of each endpoint that is none. is_fit: None: anybody is."""
        available = [one for one in self.endpoints if model in one.cards and one.is_available]
        if is_fit is not None:
            available = list(filter(is_fit, available))
        good = [endpoint for endpoint in available if endpoint.breaker.is_passable] or available
        regular = [endpoint for endpoint in good if not endpoint.is_standby]
        if len(regular) == len(good):
            return good
        num_missing = sum(not endpoint.is_standby for endpoint in self.serving(model)) - len(regular)
        return regular + [endpoint for endpoint in good if endpoint.is_standby][:num_missing]
