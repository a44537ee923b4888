"""The live display: what a line says, and that it is silent where there is no terminal."""

import io
import sys

import pytest
from rich.console import Console

from octavo.bench.answer import Record
from octavo.bench.progress import LiveProgress, LoadProgress


def ended(at: float, tokens: int, failure: str | None = None) -> Record:
    return Record(at - 1, first=at - 0.5, last=at, end=at, num_output_tokens=tokens, failure=failure)


def test_a_line_counts_the_last_seconds() -> None:
    load = LoadProgress("8 users", 100, num_running=3, num_done=7, num_failed=1)
    load.recent.extend([ended(2.0, 1000), ended(9.0, 100), ended(10.0, 60)])
    assert load.cells(10.0) == ("8 users", "7 of 100", "3", "1", "80", "500 ms")


def test_a_line_that_has_ended_counts_no_more() -> None:
    load = LoadProgress("as traced", None, num_done=7, has_ended=True)
    load.recent.append(ended(9.0, 100))
    assert load.cells(10.0) == ("as traced", "7", "0", "0", "", "")


def run(console: Console) -> None:
    with LiveProgress(console, clock=lambda: 10.0) as progress:
        progress.begin("1 user", 2)
        progress.started()
        progress.ended(ended(9.0, 10))
        progress.begin("8 users", 2)
        progress.started()
        progress.ended(ended(9.5, 10, failure="cut"))
        console.print(progress._table())


@pytest.mark.parametrize("is_terminal", [True, False])
def test_only_a_terminal_sees_it(is_terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=is_terminal, width=80)
    with LiveProgress(console, clock=lambda: 10.0) as progress:
        progress.begin("1 user", 2)
        progress.started()
        progress.ended(ended(9.0, 10))
    assert ("1 user" in out.getvalue()) == is_terminal
    assert is_terminal or out.getvalue() == ""


def test_the_table_has_a_line_for_each_load() -> None:
    out = io.StringIO()
    run(Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert "1 of 2" in lines[1] and lines[2].split() == ["8", "users", "1", "of", "2", "0", "1"]


def test_the_event_loop_gets_the_gil_soon_and_only_then() -> None:
    before = sys.getswitchinterval()
    with LiveProgress(Console(file=io.StringIO())):
        assert sys.getswitchinterval() < 1e-3
    assert sys.getswitchinterval() == before
