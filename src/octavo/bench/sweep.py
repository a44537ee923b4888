"""A sweep: one load after the other against one server, each with requests of its own."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Protocol

from octavo.bench.answer import Record
from octavo.bench.lag import LagMeter
from octavo.bench.load import Asker, Load, Send, Watcher
from octavo.bench.summary import Cell
from octavo.bench.workload import Planned, Workload

Clock = Callable[[], float]

MIN_REQUESTS = 32
ROUNDS = 4  # of each user


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One load of a sweep."""

    name: str
    load: Load
    rate: float | None
    num_requests: int | None  # None: all of a trace


class Progress(Watcher, Protocol):
    def begin(self, name: str, num_requests: int | None) -> None: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Sweep:
    """workload_of(seed) is asked for each step anew, so that no step finds another one's prompts cached."""

    engine: str
    send: Send
    workload_of: Callable[[int], Workload]
    seed: int
    clock: Clock
    progress: Progress

    async def warm_up(self) -> Record:
        """One request, which no figure contains; the server's first may cost what no other does."""
        workload = self.workload_of(self.seed)
        request = next(next(workload.sessions()).session)
        record = Record(self.clock())
        await self.send(request, record)
        return record

    async def run(self, number: int, step: Step) -> Cell:
        workload = self.workload_of(self.seed + 1 + number)
        self.progress.begin(step.name, step.num_requests)
        asker = Asker(self.send, self.clock, self.progress)
        meter = LagMeter(self.clock)
        async with meter.measuring():
            await step.load.run(_sessions(workload, step.num_requests), asker)
        return Cell(self.engine, step.name, step.rate, asker.max_running, asker.records, meter)


def _sessions(workload: Workload, num_requests: int | None) -> Iterator[Planned]:
    """As many as ask num_requests together, the last perhaps a few more."""
    if num_requests is None:
        return workload.sessions()
    return itertools.islice(workload.sessions(), -(-num_requests // workload.requests_per_session))


def enough_requests(load: float) -> int:
    """For a load of so many users, or requests per second: enough for a p99 to mean something."""
    return max(MIN_REQUESTS, int(ROUNDS * load))
