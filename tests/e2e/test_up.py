"""`octavo up` with two real replicas: a replica's death is not felt, and nobody outlives the supervisor."""

import asyncio
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx2
import pytest

from tests.e2e.failover.faults import state_of
from tests.e2e.failover.streams import Progress, differences, mixed, run


class Up:
    def __init__(self, home: pathlib.Path, *arguments: str) -> None:
        code = "import sys; from octavo.cli.main import main; sys.exit(main())"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "up", "--port", "0", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OCTAVO_HOME": str(home)},
        )
        self.lines: list[str] = []
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            for line in stderr:
                with self._said:
                    self.lines.append(line)
                    self._said.notify_all()

    def until(self, pattern: str) -> "re.Match[str]":
        """The first line that matches, once it has been said."""
        with self._said:
            while True:
                found = re.search(pattern, "".join(self.lines), re.MULTILINE)
                if found is not None:
                    return found
                assert self._said.wait(240), "".join(self.lines)

    @property
    def pids(self) -> list[int]:
        """Of all its processes: router, replicas, engines."""
        members = _children(self.process.pid)
        return members + [child for member in members for child in _children(member)]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()


def _children(pid: int) -> list[int]:
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def num_decisions(url: str, endpoint: str) -> float:
    """How many requests the router has sent there."""
    pattern = rf'^octavo:router_decisions_total{{endpoint="{endpoint}",.*}} (\S+)$'
    return sum(map(float, re.findall(pattern, httpx2.get(f"{url}/metrics").text, re.MULTILINE)))


@pytest.fixture
def values() -> str:
    """What a test's fleet is, beside its model."""
    return "replicaCount: 2\nrouter: {policy: round-robin}\n"


@pytest.fixture
def of_model() -> str:
    """And what it says of the model."""
    return ""


@pytest.fixture
def up(tmp_path: pathlib.Path, smollm2_path: pathlib.Path, values: str, of_model: str) -> Iterator[Up]:
    file = tmp_path / "values.yaml"
    file.write_text(
        f"model: {{name: {smollm2_path}, kvCacheMemory: 128MiB, maxModelLen: 512{of_model}}}\n{values}"
    )
    up = Up(tmp_path, str(file))
    yield up
    up.end()


def test_a_replica_dies_then_the_supervisor(up: Up) -> None:
    url = up.until(r"^ready in .*: (http://\S+)/v1$")[1]
    asked = mixed(per_kind=1, max_tokens=24)
    undisturbed = asyncio.run(run(url, asked))
    replica = up.pids[1]
    killed: list[int] = []

    async def disturb(progress: Progress) -> None:
        if not killed and "endpoint=r0" in progress.endpoints and all(progress.endpoints):
            killed.append(replica)
            os.kill(replica, signal.SIGKILL)

    assert not differences(asked, asyncio.run(run(url, asked, disturb)), undisturbed)
    up.until(r"^r0 was killed by SIGKILL; started again in 0.2 s$")
    up.until(r"^r0 is ready: [\s\S]*^r0 is ready: ")
    pids = up.pids
    assert len(pids) == 5 and replica not in pids
    up.process.kill()
    deadline = time.monotonic() + 120
    while any(state_of(pid) not in ("", "Z") for pid in pids):
        assert time.monotonic() < deadline, {pid: state_of(pid) for pid in pids}
        time.sleep(0.05)


@pytest.mark.full
@pytest.mark.parametrize("values", ["replicaCount: 1"])
@pytest.mark.parametrize("of_model", [", standby: 1, startOnFirstRequest: true, idleTimeout: 4s"])
def test_the_first_request_starts_a_model_its_standby_takes_over_and_nobody_is_left_when_idle(up: Up) -> None:
    url = up.until(r"^ready in .*: (http://\S+)/v1$")[1]
    assert len(up.pids) == 1  # the router
    asked = mixed(per_kind=1, max_tokens=24)
    undisturbed = asyncio.run(run(url, asked))
    assert not [error for answer in undisturbed if (error := answer.error)]
    up.until(r"^r0 is ready: ")  # the standby may have been sooner, and stood in for it
    replica, standby = up.pids[1:3]
    num_before = num_decisions(url, "r1")
    killed: list[int] = []

    async def disturb(progress: Progress) -> None:
        if not killed and all(progress.endpoints):
            assert set(progress.endpoints) == {"endpoint=r0"}
            killed.append(replica)
            os.kill(replica, signal.SIGKILL)
            await asyncio.to_thread(up.until, r"^r0 was killed by SIGKILL")

    assert not differences(asked, asyncio.run(run(url, asked, disturb)), undisturbed)
    assert killed and standby in up.pids
    assert num_decisions(url, "r1") - num_before == len(asked)
    up.until(r"^r0 sleeps: no request for 4 s$")
    up.until(r"^r1 sleeps: no request for 4 s$")
    assert len(up.pids) == 1
    assert not differences(asked, asyncio.run(run(url, asked)), undisturbed)
