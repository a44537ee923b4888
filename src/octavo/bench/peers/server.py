"""An engine's server as a process that can be stopped and continued in place, so that it stays loaded while
others are measured."""

import contextlib
import os
import pathlib
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

from octavo.bench.peers.peer import Command
from octavo.core.errors import StartError

POLL_SECONDS = 0.05
PAUSE_POLL_SECONDS = 0.001
PROBE_SECONDS = 2.0
STOP_SECONDS = 15.0
LOG_LINES = 12
GONE = ("", "Z", "X")  # as the kernel names states; "" is none
STOPPED = ("T", "t", *GONE)
PROC = pathlib.Path("/proc")


class Server:
    """The signals go to the process and all that descend from it."""

    def __init__(self, name: str, command: Command, port: int, log: pathlib.Path) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        self.started = time.perf_counter()
        self._log = log
        with log.open("wb") as out:
            variables = [f"{key}={value}" for key, value in command.environment.items()]
            self._process = subprocess.Popen(
                ["env", *variables, *command.arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # an interrupt is for the benchmark, which ends its servers itself
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self, path: str, seconds: float) -> None:
        """Raises StartError with the end of its log when it dies, or is not ready in time."""
        end = time.perf_counter() + seconds
        while not _answers(self.url + path):
            if not self.is_alive:
                raise StartError(f"{self.name} ended while it started; {self._log_end()}")
            if time.perf_counter() > end:
                raise StartError(f"{self.name} was not ready after {seconds:.0f} s; {self._log_end()}")
            time.sleep(POLL_SECONDS)

    def pause(self) -> None:
        """Returns when all of them stand still."""
        self._signal(signal.SIGSTOP)
        while any(_state(pid) not in STOPPED for pid in self._tree()):
            time.sleep(PAUSE_POLL_SECONDS)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def memory_bytes(self) -> int:
        """Of the whole tree; pages that several share are divided among them (PSS)."""
        return sum(_pss_bytes(pid) for pid in self._tree())

    def stop(self) -> None:
        """Politely, then not; returns when none of them runs any more."""
        tree = list(self._tree())
        self.resume()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        for pid in tree:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        while any(_state(pid) not in GONE for pid in tree):
            time.sleep(PAUSE_POLL_SECONDS)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._tree():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _tree(self) -> Iterator[int]:
        """Parents first."""
        if not self.is_alive:
            return
        children: dict[int, list[int]] = {}
        for pid, parent in _parents():
            children.setdefault(parent, []).append(pid)
        pending = [self.pid]
        while pending:
            pid = pending.pop()
            yield pid
            pending += children.get(pid, [])

    def _log_end(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return f"the end of {self._log}:\n" + "\n".join(lines)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=PROBE_SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _parents() -> Iterator[tuple[int, int]]:
    """Of every process: its id and its parent's."""
    for folder in PROC.iterdir():
        if folder.name.isdigit() and (fields := _stat(int(folder.name))):
            yield int(folder.name), int(fields[1])


def _state(pid: int) -> str:
    fields = _stat(pid)
    return fields[0] if fields else ""


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name; [] when it has just ended."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _pss_bytes(pid: int) -> int:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
