import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from octavo.engine.cpu_share import CpuShare

SPIN = "print(flush=True)\nwhile True: pass"
SLEEP = "import time\nprint(flush=True)\ntime.sleep(60)"
ENOUGH_SECONDS = 0.3  # for a process that spins to want more than the least that says something


@contextlib.contextmanager
def processes(count: int, source: str, cpu: int) -> Iterator[list[int]]:
    """Pids of so many, on one processor, that have begun."""
    started = [subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) for _ in range(count)]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
            os.sched_setaffinity(process.pid, {cpu})
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()


def share_of(pid: int) -> float:
    share = CpuShare(pid)
    time.sleep(ENOUGH_SECONDS)
    return share.since_last()


def test_processes_on_one_processor_get_a_part_of_it_each() -> None:
    cpu = min(os.sched_getaffinity(0))
    with processes(4, SPIN, cpu) as pids:
        watched = [CpuShare(pid) for pid in pids]
        time.sleep(4 * ENOUGH_SECONDS)
        assert sum(share.since_last() for share in watched) < 2.5


def test_who_wants_no_processor_lacks_none() -> None:
    cpu = min(os.sched_getaffinity(0))
    with processes(1, SLEEP, cpu) as [pid]:
        assert share_of(pid) == 1.0
    with processes(1, SPIN, cpu) as [pid]:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(ENOUGH_SECONDS)
        assert share_of(pid) == 1.0


def test_a_process_that_is_gone_lacks_none() -> None:
    with processes(1, SLEEP, min(os.sched_getaffinity(0))) as [pid]:
        share = CpuShare(pid)
    assert share.since_last() == 1.0
