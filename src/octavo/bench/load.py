"""Who asks when: a fixed number of users, or arrivals that do not wait for anybody.

Times are of the clock that is passed in; waiting is asyncio's. In an open loop a request's latency counts
from the moment it was to be sent, whether or not the client kept up: what a slow server holds back counts
against it (coordinated omission: Tene, How NOT to Measure Latency).
"""

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Protocol

from octavo.bench.answer import Record
from octavo.bench.workload import Planned, Request, Session

Clock = Callable[[], float]
Send = Callable[[Request, Record], Awaitable[str]]  # fills in the record; returns the answer's text


class Watcher(Protocol):
    """Told of every request, for who shows progress."""

    def started(self) -> None: ...

    def ended(self, record: Record) -> None: ...


class Load(Protocol):
    async def run(self, sessions: Iterable[Planned], asker: "Asker") -> None:
        """Ask until the sessions are through."""


@dataclasses.dataclass(slots=True)
class Asker:
    """Walks through sessions, one request after the other, and keeps the records."""

    send: Send
    clock: Clock
    watcher: Watcher
    records: list[Record] = dataclasses.field(default_factory=list)
    num_running: int = 0
    max_running: int = 0

    async def walk(self, session: Session, intended: float) -> None:
        """A failure ends a session: its next turn would need the answer."""
        request = next(session)
        while True:
            record = Record(intended)
            self.records.append(record)
            self.num_running += 1
            self.max_running = max(self.max_running, self.num_running)
            self.watcher.started()
            try:
                text = await self.send(request, record)
            finally:
                self.num_running -= 1
            self.watcher.ended(record)
            if record.failure is not None:
                return
            try:
                request = session.send(text)
            except StopIteration:
                return
            intended = self.clock()


@dataclasses.dataclass(frozen=True, slots=True)
class FixedConcurrency:
    """So many users, each with one request at a time and the next one at once."""

    users: int

    async def run(self, sessions: Iterable[Planned], asker: Asker) -> None:
        queue = iter(sessions)

        async def user() -> None:
            for planned in queue:
                await asker.walk(planned.session, asker.clock())

        async with asyncio.TaskGroup() as group:
            for _ in range(self.users):
                group.create_task(user())


@dataclasses.dataclass(frozen=True, slots=True)
class Arrivals:
    """Sessions that begin at a rate (per second), whatever becomes of those before: at random (Poisson) or
    evenly."""

    rate: float
    is_poisson: bool
    seed: int

    def offsets(self) -> Iterator[float]:
        """Seconds after the beginning, without end."""
        rng = random.Random(self.seed)
        offset = 0.0
        while True:
            yield offset
            offset += rng.expovariate(self.rate) if self.is_poisson else 1 / self.rate

    async def run(self, sessions: Iterable[Planned], asker: Asker) -> None:
        await _begin_at(zip(self.offsets(), sessions, strict=False), asker)


@dataclasses.dataclass(frozen=True, slots=True)
class Replay:
    """Sessions that begin when their trace says."""

    async def run(self, sessions: Iterable[Planned], asker: Asker) -> None:
        await _begin_at(((planned.arrival or 0.0, planned) for planned in sessions), asker)


async def _begin_at(timetable: Iterable[tuple[float, Planned]], asker: Asker) -> None:
    start = asker.clock()
    async with asyncio.TaskGroup() as group:
        for offset, planned in timetable:
            wait = start + offset - asker.clock()
            if wait > 0:
                await asyncio.sleep(wait)
            group.create_task(asker.walk(planned.session, start + offset))
