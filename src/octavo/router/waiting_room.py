"""Where requests wait that nobody can take now, for a place or for their model to be started: by priority,
fair between keys, bounded in number and time.

One line for each model. Only its first is told that something may have changed; it takes its place or stays
the first, so nobody is overtaken. Runs in the router's event loop.
"""

import asyncio
import contextlib
import dataclasses
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from octavo.core.errors import OctavoError
from octavo.core.queue_bound import QueueBound
from octavo.core.waiting_queue import WaitingQueue
from octavo.metrics.router_metrics import RouterMetrics
from octavo.router.routed_request import RoutedRequest

LOOK_SECONDS = 0.1  # between two looks of the first in a line: not every change is told

Place = TypeVar("Place")


@dataclasses.dataclass(frozen=True, slots=True)
class QueueLimits:
    """seconds: for a place; 0: nobody waits for one. max_requests: in all lines together. max_per_endpoint:
    requests at once at each; 0: any number."""

    seconds: float = 0.0
    max_requests: int = 256
    max_per_endpoint: int = 0


@dataclasses.dataclass(slots=True)
class Waiter:
    request_id: str  # not the client's: that one may be waiting twice
    tenant: str
    priority: int
    arrival: float
    turn: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)


class WaitingRoom:
    def __init__(
        self,
        limits: QueueLimits,
        metrics: RouterMetrics,
        *,
        look_seconds: float = LOOK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self._metrics = metrics
        self._look_seconds = look_seconds
        self._clock = clock
        self._bound = QueueBound(0, limits.max_requests)
        self._lines: dict[str, WaitingQueue[Waiter]] = {}  # by model; none is empty
        self._num_of_tenant: Counter[str] = Counter()
        self._numbers = itertools.count()

    @property
    def is_open(self) -> bool:
        return self.limits.seconds > 0

    @property
    def num_waiting(self) -> int:
        return sum(map(len, self._lines.values()))

    @property
    def retry_after_seconds(self) -> int:
        """How long those who wait will take at the rate of late."""
        return self._bound.retry_after_seconds(self.num_waiting, self._clock())

    def num_waiting_for(self, models: Iterable[str]) -> int:
        return sum(len(self._lines[model]) for model in models if model in self._lines)

    def has_line(self, model: str) -> bool:
        """Somebody waits for the model: who comes now may not go first."""
        return model in self._lines

    def request_ended(self) -> None:
        """Anywhere: there may be a place now."""
        self._bound.record_end(self._clock())
        for line in self._lines.values():
            line.peek().turn.set()

    async def wait(
        self, request: RoutedRequest, arrival: float, seconds: float, take: Callable[[], Place | None]
    ) -> Place | None:
        """What take gives when it is the request's turn; None when so many seconds since its arrival, or as
        many as its client gives it, are over.

        take is called without a pause before this returns. Raises OverloadedError, RateLimitError.
        """
        with self._standing(request, arrival) as (line, waiter):
            deadline = arrival + min(seconds, request.head.queue_seconds)
            while (left := deadline - self._clock()) > 0:
                is_first = line.peek() is waiter
                place = take() if is_first else None
                if place is not None:
                    line.charge(waiter.tenant, request.num_prompt_tokens)
                    self._metrics.observe_queue("served", self._clock() - arrival)
                    return place
                waiter.turn.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, self._look_seconds) if is_first else left):
                        await waiter.turn.wait()
        self._metrics.observe_queue("late", self._clock() - arrival)
        return None

    @contextlib.contextmanager
    def _standing(
        self, request: RoutedRequest, arrival: float
    ) -> Iterator[tuple[WaitingQueue[Waiter], Waiter]]:
        tenant, model = request.tenant or "", request.model
        num_of_tenant = None if request.tenant is None else self._num_of_tenant[tenant]
        try:
            self._bound.check(self.num_waiting, self._clock(), num_of_tenant=num_of_tenant)
        except OctavoError:
            self._metrics.observe_queue("refused", 0.0)
            raise
        waiter = Waiter(str(next(self._numbers)), tenant, request.priority, arrival)
        line = self._lines.setdefault(model, WaitingQueue())
        line.push(waiter)
        self._num_of_tenant[tenant] += 1
        try:
            yield line, waiter
        finally:
            line.remove(waiter)
            self._num_of_tenant[tenant] -= 1
            if line:
                line.peek().turn.set()
            else:
                del self._lines[model]
