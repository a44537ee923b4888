"""The engines that `octavo bench peers` knows."""

from collections.abc import Sequence

from octavo.bench.peers.llama_cpp import LlamaCpp
from octavo.bench.peers.octavo_itself import Octavo
from octavo.bench.peers.openvino import OpenVino
from octavo.bench.peers.peer import Peer
from octavo.bench.peers.vllm_cpu import VllmCpu
from octavo.core.errors import StartError

PEERS: tuple[Peer, ...] = (
    Octavo(),
    Octavo(name="octavo-bf16", facts="this installation, on the checkpoint", needs_checkpoint=True),
    Octavo(name="octavo-int8-kv", facts="this installation; --kv-dtype int8", options=("--kv-dtype", "int8")),
    Octavo(
        name="octavo-int8",
        facts="this installation; --activation-dtype int8",
        options=("--activation-dtype", "int8"),
    ),
    LlamaCpp(name="llama.cpp", is_tuned=True),
    LlamaCpp(name="llama.cpp-defaults", is_tuned=False),
    VllmCpu(name="vllm", uses_all_cores=True),
    VllmCpu(name="vllm-defaults", uses_all_cores=False),
    OpenVino(),
)


def peers_named(names: Sequence[str], peers: Sequence[Peer] = PEERS) -> list[Peer]:
    """In their order. Raises StartError for a name that none has."""
    known = {peer.name: peer for peer in peers}
    for name in names:
        if name not in known:
            raise StartError(f"--engines names {name!r}; allowed: {', '.join(known)}.")
    return [known[name] for name in dict.fromkeys(names)]
