"""A process that does not outlive its parent, whatever kills that."""

import os
import signal
import subprocess
import sys

CHILD = """
import sys, time
from octavo.engine.parent import die_with_parent
die_with_parent(int(sys.argv[1]))
print("here", flush=True)
time.sleep(1000)
"""
PARENT = f"""
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {CHILD!r}, str(os.getpid())])
time.sleep(1000)
"""


def test_it_dies_when_its_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"here\n"
        os.kill(parent.pid, signal.SIGKILL)
        assert parent.stdout.read() == b""  # the child held the other end


def test_it_does_not_start_when_its_parent_is_gone_already() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD, "1"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "The process that started this one is gone." in done.stderr
