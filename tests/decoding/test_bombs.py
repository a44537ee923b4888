"""Grammars made to hurt: in a process with bounded memory and time, each is refused, or followed."""

import subprocess
import sys

from tests.decoding.bombs import LARKS, REGEXES, SCHEMAS
from tests.rules import ROOT

REFUSED = {
    "parentheses", "open parentheses", "look-around", "patterns that meet", "two ways sixteen times",
    "itself", "each other", "nested groups",
}  # fmt: skip


def test_no_grammar_ends_the_process_or_takes_its_memory() -> None:
    command = [sys.executable, "-m", "tests.decoding.bombs"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    outcomes = dict(line.rsplit(": ", 1) for line in run.stdout.splitlines())
    assert run.returncode == 0, run.stderr[-500:]
    assert outcomes.keys() == REGEXES.keys() | SCHEMAS.keys() | LARKS.keys()
    assert {name for name, outcome in outcomes.items() if outcome == "refused"} >= REFUSED
    assert "stuck" not in outcomes.values()
    assert outcomes["a thousand properties"] == outcomes["a large factor"] == "followed"
