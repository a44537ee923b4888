"""A router before two real replicas: faults under concurrent streams, each as if nothing had happened."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.served import Served
from tests.e2e.test_serve import stream_all

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

OPTIONS = (
    *("--kv-cache-memory", "256MiB", "--max-model-len", "512", "--threads", "1"),
    *("--drain-seconds", "0.3"),
)


class Fleet:
    """Two replicas that share a secret, and a router with short times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OCTAVO_SECRET", "shared")
        self.replicas = [Served.start(*OPTIONS) for _ in range(2)]
        port = served_port()
        code = "import sys; from octavo.cli.main import main; sys.exit(main())"
        urls = [replica.url for replica in self.replicas]
        options = ("--port", str(port), "--policy", "round-robin", "--inter-token-seconds", "3")
        command = [sys.executable, "-c", code, "route", *urls, *options, "--health-interval-seconds", "0.2"]
        self.router = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.base = f"http://127.0.0.1:{port}"
        while not self.is_whole():
            assert self.router.poll() is None
            time.sleep(0.05)

    def table(self) -> list[dict[str, object]]:
        with urllib.request.urlopen(f"{self.base}/debug/endpoints") as response:
            rows: list[dict[str, object]] = json.load(response)
        return rows

    def is_whole(self) -> bool:
        try:
            return all(row["ready"] and row["fingerprint"] for row in self.table())
        except OSError:
            return False

    def num_failovers(self) -> float:
        with urllib.request.urlopen(f"{self.base}/metrics") as response:
            lines = response.read().decode().splitlines()
        wanted = 'octavo:router_failovers_total{outcome="answered"'
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(wanted))

    def stop(self) -> None:
        self.router.terminate()
        self.router.wait(timeout=60)
        for replica in self.replicas:
            if replica.process.poll() is None:
                replica.process.send_signal(signal.SIGCONT)
            replica.process.kill()
            replica.process.wait()
            assert replica.process.stderr is not None
            replica.process.stderr.close()


def served_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, smollm2_path: object) -> Iterator[Fleet]:
    fleet = Fleet(monkeypatch)
    yield fleet
    fleet.stop()


def kill(replica: Served) -> None:
    engine = replica.engine_pid()
    replica.process.kill()
    os.kill(engine, signal.SIGKILL)


def stop(replica: Served) -> None:
    replica.process.send_signal(signal.SIGSTOP)


def drain(replica: Served) -> None:
    replica.process.terminate()


@pytest.mark.parametrize("fault", (kill, stop, drain))
def test_a_lost_replica_costs_nobody_anything(fleet: Fleet, fault: Callable[[Served], None]) -> None:
    undisturbed = asyncio.run(stream_all(f"{fleet.base}/v1"))
    assert fleet.num_failovers() == 0
    is_done = []

    async def disturb(num_chunks: int) -> None:
        if num_chunks >= 160 and not is_done:
            is_done.append(num_chunks)
            fault(fleet.replicas[0])

    assert asyncio.run(stream_all(f"{fleet.base}/v1", disturb)) == undisturbed
    assert is_done and fleet.num_failovers() > 0
