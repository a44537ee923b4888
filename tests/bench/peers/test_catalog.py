import pytest

from octavo.bench.peers.catalog import PEERS, peers_named
from octavo.core.errors import StartError


def test_names_are_in_order_and_once() -> None:
    assert [peer.name for peer in peers_named(["llama.cpp", "octavo", "llama.cpp"])] == [
        "llama.cpp",
        "octavo",
    ]


def test_an_unknown_engine_is_named_with_those_that_are_known() -> None:
    with pytest.raises(
        StartError,
        match=r"--engines names 'ollama'; allowed: octavo, octavo-bf16, octavo-int8-kv",
    ):
        peers_named(["octavo", "ollama"])


def test_every_engine_has_a_name_of_its_own_and_says_how_it_is_set() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    assert all(peer.facts and peer.ready_path.startswith("/") for peer in PEERS)
