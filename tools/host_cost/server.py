"""What the server process costs per token and per request: a real one, with an engine that takes no time.

CPU time of the server process, user and system. Streams that the server writes one token at a time (it keeps
up) cost more than those it writes when it is behind, several tokens in one event.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

START_SECONDS = 120.0
LOOK_SECONDS = 0.1
SECRET = "host-cost"
_TICK = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True, slots=True)
class ServerCost:
    """num_bytes: of answers. Seconds of the processes' CPU; wall_seconds of the whole run."""

    num_requests: int
    num_tokens: int
    num_bytes: int
    server_seconds: float
    engine_seconds: float
    wall_seconds: float


class Served:
    """An `octavo serve` under way, and its engine."""

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.pid = pid
        self.engine_pid = int(pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def load(
        self, num_streams: int, num_requests: int, num_tokens: int, path: str, reader: str
    ) -> ServerCost:
        """Requests of so many output tokens each, so many at a time. reader: see load.py."""
        command = [sys.executable, "-m", "tools.host_cost.load", str(self.port)]
        numbers = [str(value) for value in (num_streams, num_requests, num_tokens)]
        began = time.monotonic()
        before = cpu_seconds_of(self.pid), cpu_seconds_of(self.engine_pid)
        output = subprocess.run([*command, *numbers, path, reader], stdout=subprocess.PIPE, check=True).stdout
        server, engine = (
            after - first
            for after, first in zip(
                (cpu_seconds_of(self.pid), cpu_seconds_of(self.engine_pid)), before, strict=True
            )
        )
        return ServerCost(
            num_requests,
            num_requests * num_tokens,
            int(output),
            server,
            engine,
            time.monotonic() - began,
        )


@contextlib.contextmanager
def served(step_seconds: float, *options: str) -> Iterator[Served]:
    """While a server runs whose steps take so long."""
    command = [sys.executable, "-m", "tools.host_cost.served", str(step_seconds), "--port", "0", *options]
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder) / "log"
        environment = {**os.environ, "OCTAVO_SECRET": SECRET}
        with (
            log.open("w") as stderr,
            subprocess.Popen(command, stderr=stderr, env=environment) as process,
        ):
            try:
                yield Served(_wait_for_port(process, log), process.pid)
            finally:
                process.terminate()


def _wait_for_port(process: "subprocess.Popen[bytes]", log: pathlib.Path) -> int:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        found = re.search(r"http://127.0.0.1:(\d+)/v1", log.read_text())
        if found:
            return int(found[1])
        time.sleep(LOOK_SECONDS)
    raise RuntimeError("The server did not start.")


def cpu_seconds_of(pid: int) -> float:
    """User and system time of all its threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK
