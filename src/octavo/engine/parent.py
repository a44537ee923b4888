"""A process that does not outlive the one that started it, by the kernel's parent-death signal (Linux)."""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """From now on, SIGKILL when the parent is gone. Raises SystemExit when it is gone already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the line above
        raise SystemExit("The process that started this one is gone.")
