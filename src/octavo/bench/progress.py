"""A live line for each load of a sweep, on a terminal; elsewhere nothing at all."""

import collections
import dataclasses
import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.table import Table

from octavo.bench.answer import Record

REFRESH_PER_SECOND = 2
SWITCH_SECONDS = 5e-4
WINDOW_SECONDS = 5.0  # of what is shown as "now"


@dataclasses.dataclass(slots=True)
class LoadProgress:
    """Counts of one load."""

    name: str
    num_requests: int | None
    num_running: int = 0
    num_done: int = 0
    num_failed: int = 0
    has_ended: bool = False
    recent: collections.deque[Record] = dataclasses.field(default_factory=collections.deque)

    def cells(self, now: float) -> tuple[str, ...]:
        """As text: load, done, running, failed, output tokens/s and mean TTFT over the last seconds."""
        while self.recent and self.recent[0].end < now - WINDOW_SECONDS:
            self.recent.popleft()
        of = "" if self.num_requests is None else f" of {self.num_requests}"
        counts = (self.name, f"{self.num_done}{of}", str(self.num_running), str(self.num_failed))
        if not self.recent or self.has_ended:
            return (*counts, "", "")
        num_tokens = sum(record.num_output_tokens for record in self.recent)
        ttft = sum(record.ttft for record in self.recent) / len(self.recent)
        seconds = max(now - min(record.intended for record in self.recent), 1e-9)
        return (*counts, f"{num_tokens / min(seconds, WINDOW_SECONDS):,.0f}", f"{1e3 * ttft:,.0f} ms")


class LiveProgress:
    """A Progress (sweep.py). clock is that of the records."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._loads: list[LoadProgress] = []
        self._live = Live(
            console=console,
            get_renderable=self._table,
            refresh_per_second=REFRESH_PER_SECOND,
            transient=True,
            auto_refresh=console.is_terminal,
        )

    def __enter__(self) -> "LiveProgress":
        self._switch_seconds = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)  # what draws must not keep the event loop waiting for the GIL
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()
        sys.setswitchinterval(self._switch_seconds)

    def begin(self, name: str, num_requests: int | None) -> None:
        if self._loads:
            self._loads[-1].has_ended = True
        self._loads.append(LoadProgress(name, num_requests))

    def started(self) -> None:
        self._loads[-1].num_running += 1

    def ended(self, record: Record) -> None:
        load = self._loads[-1]
        load.num_running -= 1
        load.num_done += 1
        if record.failure is None:
            load.recent.append(record)
        else:
            load.num_failed += 1

    def _table(self) -> Table:
        table = Table(box=None, header_style="dim")
        for title in ("load", "done", "running", "failed", "output tok/s", "TTFT"):
            table.add_column(title, justify="left" if title == "load" else "right")
        for load in self._loads:
            table.add_row(*load.cells(self._clock()))
        return table
