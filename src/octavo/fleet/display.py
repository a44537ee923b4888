"""What a terminal shows of a fleet: every member's lines, each behind its name, above a table of them all.

Where stderr is no terminal there is no table, and a member's new state is a line. Lines come from threads.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from octavo.fleet.member import Member

COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "red")
_STYLES = {
    "ready": "green",
    "starting": "yellow",
    "unready": "red",
    "waiting": "red",
    "asleep": "dim",
    "ended": "dim",
    "stopping": "dim",
}
REFRESHES_PER_SECOND = 2


class TableRow(Protocol):
    """What the table shows of a member."""

    @property
    def member(self) -> Member: ...

    @property
    def num_requests(self) -> int: ...


class Display:
    """url_of: where a member is found. rows: of the table, asked again whenever it is drawn."""

    def __init__(
        self,
        console: Console,
        names: Sequence[str],
        *,
        url_of: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._url_of = url_of
        self._clock = clock
        self._width = max(map(len, names), default=0)
        self._colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
        self._since: dict[str, float] = {}
        self._live: Live | None = None

    def show(self, rows: Callable[[], Sequence[TableRow]]) -> Self:
        """From here to the end of the with block there is a table, if this is a terminal."""
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=lambda: self._table(rows()),
                console=self._console,
                refresh_per_second=REFRESHES_PER_SECOND,
                redirect_stdout=False,
                redirect_stderr=False,
            )
        return self

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def line(self, name: str, text: str) -> None:
        """One line of a member's output."""
        self._print(Text.assemble((f"{name:{self._width}} | ", self._colours.get(name, "")), text))

    def say(self, text: str) -> None:
        """One line of the supervisor's own."""
        self._print(Text(text))

    def change(self, member: Member) -> None:
        """A member's new state: a line, unless there is nothing to say of it."""
        reason = f": {member.reason}" if member.reason else ""
        text = {
            "ready": f"is ready: {self._url_of(member.name)}",
            "unready": f"is not ready{reason}",
            "waiting": member.reason,
            "asleep": f"sleeps: {member.reason}",
            "ended": member.reason or None,
        }.get(member.state)
        if text is not None:
            self.say(f"{member.name} {text}")
        self._since[member.name] = self._clock()

    def _print(self, text: Text) -> None:
        with contextlib.suppress(OSError, SystemExit):  # rich exits where a pipe is closed; the fleet goes on
            self._console.print(text, soft_wrap=True, highlight=False, markup=False, emoji=False)

    def _table(self, rows: Sequence[TableRow]) -> Table:
        """Where there is little room, reasons and addresses give way, never who is how."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for title in ("", "state", "for", "requests", "starts"):
            table.add_column(title, no_wrap=True)
        for title in ("where", ""):
            table.add_column(Text(title, no_wrap=True, overflow="ellipsis"))
        for row in rows:
            member = row.member
            table.add_row(
                Text(member.name, self._colours.get(member.name, "")),
                Text(member.state, _STYLES.get(member.state, "")),
                duration(self._clock() - self._since.get(member.name, self._clock())),
                str(row.num_requests),
                str(member.num_starts),
                Text(self._url_of(member.name), no_wrap=True, overflow="ellipsis"),
                Text(member.reason, "dim", no_wrap=True, overflow="ellipsis"),
            )
        return table


def duration(seconds: float) -> str:
    """Two units at most: 12 s, 3 min 5 s, 2 h 10 min."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
