"""A comparison with engines of a test: what is measured, saved, gone on with, and left behind."""

import asyncio
import pathlib
import socket

import pytest

from octavo.bench.peers import comparison
from octavo.bench.peers.cells import CellFile, Key, Settings
from octavo.bench.peers.comparison import Comparison, Runner
from octavo.bench.peers.peer import Command
from octavo.bench.peers.server import Server
from octavo.core.errors import StartError
from tests.bench.peers.fake_peer import FakePeer
from tests.bench.peers.test_server import free_port, state
from tests.bench.samples import sample_result, sample_serving
from tests.bench.scripted_server import NullWatcher

SETTINGS = Settings("tiny", 8, 4, 1, "one of a test")
ENGINES = ("one", "two")


class RecordingServer(Server):
    """Notes all there were, and who was running whenever one was continued."""

    all: list["RecordingServer"] = []  # noqa: RUF012

    def __init__(self, name: str, command: Command, port: int, log: pathlib.Path) -> None:
        super().__init__(name, command, port, log)
        self.others: list[str] = []
        self.all.append(self)

    def resume(self) -> None:
        self.others += [state(server.pid) for server in self.all if server is not self and server.is_alive]
        super().resume()


@pytest.fixture(autouse=True)
def servers(monkeypatch: pytest.MonkeyPatch) -> list[RecordingServer]:
    monkeypatch.setattr(comparison, "Server", RecordingServer)
    monkeypatch.setattr(comparison, "IDLE_SECONDS", 0.0)
    monkeypatch.setattr(RecordingServer, "all", [])
    return RecordingServer.all


def runner(tmp_path: pathlib.Path, said: list[str], *peers: FakePeer, num_runs: int = 2) -> Runner:
    chosen = peers or tuple(FakePeer(name) for name in ENGINES)
    return Runner(
        Comparison(chosen, pathlib.Path("m.gguf"), None, [1, 3], 8, 4, num_runs, 1, seed=1),
        tmp_path,
        tmp_path / "root",
        run=asyncio.run,
        free_port=free_port,
        say=said.append,
        progress=NullWatcher(),
    )


def test_every_cell_is_measured_by_turns_with_the_others_stopped(
    tmp_path: pathlib.Path, servers: list[RecordingServer]
) -> None:
    said: list[str] = []
    file = CellFile(tmp_path / "cells.jsonl", SETTINGS)
    runner(tmp_path, said).measure(file)
    assert list(file.cells) == [Key(e, c, run) for run in (0, 1) for c in (1, 3) for e in ENGINES]
    for key, cell in file.cells.items():
        assert cell.result.num_requests == cell.result.concurrency == key.concurrency
        assert cell.result.start_seconds and cell.result.peak_memory_bytes
        assert cell.result.serving is not None and cell.result.serving.num_failed == 0
    assert [server.name for server in servers] == list(ENGINES)  # started once, kept loaded
    assert set(servers[0].others) | set(servers[1].others[:-1]) <= {"T"}
    assert not any(server.is_alive for server in servers)
    assert said[0] == "cell 1 of 8: one, 1 at once, run 1" and "two: starting ..." in said


def test_an_interrupted_comparison_goes_on(tmp_path: pathlib.Path, servers: list[RecordingServer]) -> None:
    path = tmp_path / "cells.jsonl"
    runner(tmp_path, [], num_runs=1).measure(CellFile(path, SETTINGS))
    before = CellFile(path, SETTINGS).cells
    said: list[str] = []
    runner(tmp_path, said, num_runs=2).measure(CellFile(path, SETTINGS))
    after = CellFile(path, SETTINGS).cells
    assert len(after) == 8 and {key: after[key] for key in before} == before
    assert next(line for line in said if line.startswith("cell")) == "cell 1 of 4: one, 1 at once, run 2"
    servers.clear()
    runner(tmp_path, [], num_runs=2).measure(CellFile(path, SETTINGS))
    assert servers == []  # nothing is missing: nobody is started


def test_what_was_measured_before_a_failure_is_kept(
    tmp_path: pathlib.Path, servers: list[RecordingServer]
) -> None:
    file = CellFile(tmp_path / "cells.jsonl", SETTINGS)
    with pytest.raises(StartError, match="two ended while it started"):
        runner(tmp_path, [], FakePeer("one"), FakePeer("two", broken="start")).measure(file)
    assert list(CellFile(tmp_path / "cells.jsonl", SETTINGS).cells) == [Key("one", 1, 0)]
    assert not any(server.is_alive for server in servers)


def test_what_makes_a_cell_worth_less_is_said(tmp_path: pathlib.Path) -> None:
    said: list[str] = []
    serving = sample_serving(failures={"HTTP 429": 2}, void="the client used 95% of a core")
    runner(tmp_path, said)._complain("one", sample_result(serving=serving))
    assert said == ["one: 2 requests failed: HTTP 429", "one: void, the client used 95% of a core"]


def test_one_that_reads_a_checkpoint_needs_one() -> None:
    peer = FakePeer("vllm", needs_checkpoint=True)
    asked = Comparison([peer], pathlib.Path("m.gguf"), None, [1], 8, 4, 1, 1, seed=1)
    with pytest.raises(StartError, match="vllm reads a checkpoint; --checkpoint names its folder"):
        asked.check()


def test_a_server_that_does_not_answer_is_not_measured(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "wait_until_ready", lambda self, path, seconds: None)
    monkeypatch.setattr(comparison, "REQUEST_SECONDS", 1.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        asked = runner(tmp_path, [])
        asked._free_port = lambda: port
        with pytest.raises(StartError, match="cannot be reached"):
            asked.measure(CellFile(tmp_path / "cells.jsonl", SETTINGS))
