"""The server under soak as seen from outside: its process, its engine's, and what /metrics says."""

import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import time

from tests.soak import counted

MAX_MODEL_LEN = 512
START_SECONDS = 120.0
LOOK_SECONDS = 0.05
PAGE_MIB = 1024  # KiB in a MiB


@dataclasses.dataclass(frozen=True)
class Resources:
    """Of an idle server: what must be the same after as before."""

    fds: int
    threads: int
    tasks: int
    streams: int
    generations: int


class SoakServer:
    """`octavo serve MODEL` with little room; its log is in the folder."""

    def __init__(self, folder: pathlib.Path, model: str, kv_cache_memory: str) -> None:
        self.log_path = folder / "server.log"
        self._counts_path = folder / "counts.json"
        options = ("--port", "0", "--max-model-len", str(MAX_MODEL_LEN), "--max-num-seqs", "32")
        command = counted.command("tests.soak.counted_server", str(self._counts_path), "serve", model)
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(
                [*command, *options, "--kv-cache-memory", kv_cache_memory], stderr=log, stdout=log
            )
        self.url = self._wait_until_ready()

    def _wait_until_ready(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            found = re.search(r"ready in .*(http://\S+)/v1", self.log_path.read_text())
            if found:
                return found.group(1)
            time.sleep(LOOK_SECONDS)
        raise RuntimeError(f"The server did not start:\n{self.log_path.read_text()}")

    def engine_pid(self) -> int | None:
        """None while there is none."""
        pid = self.process.pid
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else None

    def kill_engine(self) -> bool:
        """SIGKILL. False if there is none to be killed."""
        pid = self.engine_pid()
        if pid is None:
            return False
        os.kill(pid, signal.SIGKILL)
        return True

    def anonymous_mib(self, pid: int | None) -> float | None:
        """Memory of a process that no file stands behind; None if it is gone."""
        try:
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return None
        found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
        return int(found[1]) / PAGE_MIB if found else None

    def resources(self) -> Resources:
        """Of the server process. Takes a garbage collection."""
        self._counts_path.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + 10
        while not self._counts_path.exists():
            if time.monotonic() > deadline:
                raise RuntimeError("The server does not say what is alive in it.")
            time.sleep(LOOK_SECONDS)
        proc = pathlib.Path(f"/proc/{self.process.pid}")
        fds, threads = len(list((proc / "fd").iterdir())), len(list((proc / "task").iterdir()))
        return Resources(fds, threads, **json.loads(self._counts_path.read_text()))

    def complaints(self) -> list[str]:
        """Lines of the log that no healthy server writes."""
        text = self.log_path.read_text(errors="replace")
        return [
            line for line in text.splitlines() if re.search(r"Traceback|Error:|never awaited|ERROR", line)
        ]

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        try:
            return self.process.wait(timeout=60)
        finally:
            self.process.kill()


def parse_metrics(text: str) -> dict[str, float]:
    """Name -> value, summed over labels."""
    values: dict[str, float] = {}
    for line in text.splitlines():
        found = re.match(r"([\w:]+)(?:\{.*\})? (\S+)$", line)
        if found:
            values[found[1]] = values.get(found[1], 0.0) + float(found[2])
    return values
