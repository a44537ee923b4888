from collections.abc import Callable

import pytest

from octavo.bench.peers.catalog import PEERS
from octavo.cli import main as cli
from octavo.cli.bench_peers import PeersOptions


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--runs", "0"), "--runs is 0; allowed: 1 or more."),
        (("--threads", "0"), "--threads is 0; allowed: 1 or more."),
        (
            ("--concurrency", "x"),
            "--concurrency is 'x'; allowed: numbers above 0, separated by commas, like 1,8,32.",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    arguments: tuple[str, ...], text: str, complaint: Callable[..., str]
) -> None:
    assert complaint("peers", *arguments, command="bench") == f"octavo: {text}"


def test_names_are_separated_by_commas() -> None:
    options = PeersOptions(engines="octavo,vllm", concurrency="1,8")
    assert options.names == ("octavo", "vllm") and options.concurrencies == (1, 8)


def test_all_engines_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "peers", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [peer.name for peer in PEERS]
