"""How late the load generator itself is, so that its lateness is never taken for the server's."""

import array
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import msgspec

from octavo.bench.percentiles import Percentiles

TICK_SECONDS = 0.01
MAX_LAG_SHARE = 0.1  # of the latency that is measured
MIN_LAG_SECONDS = 1e-3  # a timer's own coarseness
MAX_CPU_SHARE = 0.9

Clock = Callable[[], float]


class ClientLag(msgspec.Struct, frozen=True):
    """Of one cell. event_loop: how much later than it should a timer was served, thus at most an event.

    send: how much later than intended requests were sent.
    """

    event_loop: Percentiles
    send: Percentiles
    cpu_share: float  # of one core, by this process


def complaint(lag: ClientLag, shortest_seconds: float) -> str | None:
    """Why figures as short as this are void, if they are: the client was the limit."""
    limit = max(MAX_LAG_SHARE * shortest_seconds, MIN_LAG_SECONDS)
    if lag.event_loop.p99 > limit:
        return f"the client's event loop was late by {1e3 * lag.event_loop.p99:.1f} ms (p99)"
    if lag.cpu_share > MAX_CPU_SHARE:
        return f"the client used {lag.cpu_share:.0%} of a core"
    return None


class LagMeter:
    """Measures while its block runs."""

    def __init__(self, clock: Clock, cpu_clock: Clock = time.process_time) -> None:
        self._clock = clock
        self._cpu_clock = cpu_clock
        self.samples = array.array("d")
        self.cpu_share = 0.0

    @contextlib.asynccontextmanager
    async def measuring(self) -> AsyncIterator[None]:
        began, cpu_began = self._clock(), self._cpu_clock()
        task = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            seconds = self._clock() - began
            self.cpu_share = (self._cpu_clock() - cpu_began) / seconds if seconds > 0 else 0.0

    async def _tick(self) -> None:
        while True:
            due = self._clock() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self.samples.append(max(0.0, self._clock() - due))
