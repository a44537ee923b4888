"""`python -m octavo.fleet`: an octavo command, while its supervisor lives."""

import os
import subprocess
import sys

import octavo

COMMAND = (sys.executable, "-P", "-m", "octavo.fleet")


def run(parent_pid: int) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, str(parent_pid), "--version"], capture_output=True, text=True, check=False
    )


def test_it_is_the_command_it_is_given() -> None:
    done = run(os.getpid())
    assert (done.returncode, done.stdout.strip()) == (0, octavo.__version__)


def test_without_its_supervisor_it_does_nothing() -> None:
    done = run(1)
    assert (done.returncode, done.stdout) == (1, "")
