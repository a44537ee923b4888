"""What a terminal shows, and what a file gets instead."""

import dataclasses
import errno
import io
import os
import re

import pytest
from rich.console import Console

from octavo.fleet.display import Display, duration
from octavo.fleet.member import Member


@dataclasses.dataclass
class Row:
    member: Member
    num_requests: int = 3


def member(state: str, reason: str = "") -> Member:
    made = Member("r0", [], {}, on_line=lambda name, text: None, on_change=lambda member: None)
    made.become(state, reason)
    return made


def shown(is_terminal: bool, width: int = 100) -> tuple[Display, io.StringIO]:
    output = io.StringIO()
    console = Console(file=output, force_terminal=is_terminal, width=width, no_color=True)
    return Display(console, ["router", "r0"], url_of=lambda name: f"http://{name}"), output


@pytest.mark.parametrize(
    ("state", "reason", "line"),
    [
        ("ready", "", "r0 is ready: http://r0\n"),
        ("unready", "too full", "r0 is not ready: too full\n"),
        ("waiting", "was killed", "r0 was killed\n"),
        ("ended", "", ""),
        ("ended", "was killed by SIGKILL", "r0 was killed by SIGKILL\n"),
        ("starting", "", ""),
    ],
)
def test_a_new_state_is_a_line(state: str, reason: str, line: str) -> None:
    display, output = shown(False)
    display.change(member(state, reason))
    assert output.getvalue() == line


def test_lines_stand_behind_their_names_as_they_are() -> None:
    display, output = shown(False)
    with display.show(lambda: [Row(member("ready"))]):
        display.line("r0", "[bold] :smile: " + "x" * 200)
    assert output.getvalue() == "r0     | [bold] :smile: " + "x" * 200 + "\n"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), BrokenPipeError()])
def test_a_line_that_nobody_can_be_given_harms_nobody(
    error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines come from the thread that also buries the member."""
    display, output = shown(False)

    def refuse(*_: object) -> int:
        raise error

    monkeypatch.setattr(output, "write", refuse)
    monkeypatch.setattr(os, "dup2", lambda *_: None)  # rich puts /dev/null in place of stdout
    display.line("r0", "hello")
    display.say("hello")


def test_a_terminal_has_a_table() -> None:
    display, output = shown(True)
    row = Row(member("waiting", "was killed by SIGKILL"))
    with display.show(lambda: [row]):
        display.change(row.member)
    last = output.getvalue()
    for text in ("waiting", "0 s", "3", "http://r0", "was killed by SIGKILL"):
        assert text in last


@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_terminal_still_shows_who_is_how(width: int) -> None:
    display, output = shown(True, width)
    row = Row(member("starting", "was killed by SIGKILL; started again in 0.2 s"))
    with display.show(lambda: [row]):
        display.change(row.member)
    lines = re.sub(r"\x1b\[[^A-Za-z]*[A-Za-z]", "", output.getvalue()).splitlines()
    assert any(line.startswith("r0  starting  0 s  3  ") for line in lines)
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.9, "0 s"), (59, "59 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")]
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text
