"""`octavo bench peers` with an engine of the test: its table, its files, and that it goes on."""

import dataclasses
import os
import pathlib
import signal
import socket

import pytest

from octavo.bench.peers.peer import Command, Place, Serving
from octavo.bench.result import read_report
from octavo.cli import bench_peers_run
from octavo.cli import main as cli
from tests.bench.peers.fake_peer import FakePeer

ARGUMENTS = (
    "bench",
    "peers",
    "--concurrency",
    "1,2",
    "--runs",
    "2",
    "--input-tokens",
    "8",
    "--output-tokens",
    "4",
)


def test_a_comparison_prints_and_saves_its_tables_and_is_not_made_twice(
    tmp_path: pathlib.Path, smollm2_path: pathlib.Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(bench_peers_run, "peers_named", lambda names: [FakePeer(name) for name in names])
    arguments = [
        *ARGUMENTS,
        "--engines",
        "octavo,other",
        "--model",
        str(smollm2_path),
        "--out",
        str(tmp_path / "out"),
    ]
    assert cli.main(arguments) == 0
    first = capfd.readouterr()
    assert "cell 8 of 8: other, 2 at once, run 2" in first.err
    assert "| octavo / best other | " in first.out and "2 runs;" in first.out.splitlines()[0]
    assert (tmp_path / "out" / "tables.md").read_text() == first.out
    report = read_report(tmp_path / "out" / "results.json")
    assert [(r.engine, r.concurrency, len(r.runs)) for r in report.results] == [
        (engine, load, 2) for engine in ("octavo", "other") for load in (1, 2)
    ]
    assert cli.main(arguments) == 0
    again = capfd.readouterr()
    assert again.err == "" and again.out == first.out


def test_engines_are_checked_before_anything_happens(
    smollm2_path: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("--model", str(smollm2_path), "--out", str(tmp_path / "out"))
    assert cli.main([*ARGUMENTS, *place, "--engines", "vllm"]) == 2
    assert "vllm reads a checkpoint; --checkpoint names its folder." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@dataclasses.dataclass(frozen=True)
class PortPeer(FakePeer):
    """Tells where it listens. number: a signal that this process gets before it starts."""

    ports: list[int] = dataclasses.field(default_factory=list)
    number: int = 0

    def start(self, place: Place, serving: Serving) -> Command:
        self.ports.append(serving.port)
        os.kill(os.getpid(), self.number)
        return super().start(place, serving)


@pytest.mark.parametrize("number", bench_peers_run.END_SIGNALS)
def test_a_signal_that_ends_it_leaves_no_server_behind(
    number: int, tmp_path: pathlib.Path, smollm2_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = PortPeer("first"), PortPeer("second", number=number)
    monkeypatch.setattr(bench_peers_run, "peers_named", lambda names: [first, second])
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended:
        cli.main([*ARGUMENTS, "--model", str(smollm2_path), "--out", str(tmp_path)])
    assert ended.value.code == 128 + number and signal.getsignal(number) == before
    with socket.socket() as client:  # a server that is stopped in place would let it connect
        assert client.connect_ex(("127.0.0.1", first.ports[0])) != 0
