"""A server's process: ready, stopped in place and continued, ended with all that descend from it."""

import pathlib
import socket
import sys
import time
from collections.abc import Iterator

import pytest

from octavo.bench.peers.peer import Command, Place
from octavo.bench.peers.server import Server
from octavo.core.errors import StartError
from tests.bench.peers.fake_peer import FakePeer
from tests.bench.peers.serving import SERVING

FAMILY = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"


def state(pid: int) -> str:
    """As the kernel has it: R, S, T (stopped), Z ... or "" when it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def server(tmp_path: pathlib.Path) -> Iterator[Server]:
    port = free_port()
    place = Place(tmp_path)
    command = FakePeer().start(place, SERVING.__class__(None, None, port, 1, 1, 1))
    server = Server("fake", command, port, tmp_path / "log")
    yield server
    server.stop()


def test_it_is_stopped_in_place_and_continued(server: Server) -> None:
    server.wait_until_ready("/health", 60.0)
    server.pause()
    assert state(server.pid) == "T" and server.is_alive
    server.resume()
    server.wait_until_ready("/health", 60.0)
    assert state(server.pid) in "RS"
    assert server.memory_bytes() > 1 << 20


def test_a_server_that_is_stopped_in_place_can_be_ended(server: Server) -> None:
    server.wait_until_ready("/health", 60.0)
    server.pause()
    server.stop()
    assert not server.is_alive and server.memory_bytes() == 0


def test_its_children_end_with_it(tmp_path: pathlib.Path) -> None:
    server = Server("family", Command((sys.executable, "-c", FAMILY)), free_port(), tmp_path / "log")
    while len(tree := list(server._tree())) < 2:
        time.sleep(0.01)
    server.pause()
    assert [state(pid) for pid in tree] == ["T", "T"]
    server.stop()
    assert all(state(pid) in ("", "Z") for pid in tree)


def test_one_that_ends_at_once_is_not_waited_for(tmp_path: pathlib.Path) -> None:
    command = Command((sys.executable, "-c", "import os; print(os.environ['SAY'])"), {"SAY": "no such model"})
    server = Server("fake", command, free_port(), tmp_path / "log")
    with pytest.raises(StartError, match=r"fake ended while it started; the end of .*\nno such model"):
        server.wait_until_ready("/health", 60.0)
    server.stop()


def test_one_that_never_serves_is_given_up(tmp_path: pathlib.Path) -> None:
    server = Server("slow", Command(("sleep", "60")), free_port(), tmp_path / "log")
    with pytest.raises(StartError, match="slow was not ready after 0 s"):
        server.wait_until_ready("/health", 0.0)
    server.stop()
