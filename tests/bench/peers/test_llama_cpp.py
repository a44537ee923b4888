import pathlib

from octavo.bench.peers.llama_cpp import LlamaCpp, build_options
from tests.bench.peers.serving import PLACE, SERVING, option


def test_it_is_built_for_this_processor_without_amx(tmp_path: pathlib.Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "model name\t: x\nflags\t\t: sse2 avx avx2 fma avx512f avx512_bf16 amx_int8 amx_bf16\n"
    )
    expected = ["AVX", "AVX2", "AVX512", "AVX512_BF16", "FMA"]
    assert set(build_options(cpuinfo)) == {f"-DGGML_{name}=ON" for name in expected}
    commands = [" ".join(command.arguments) for command in LlamaCpp("x", is_tuned=True).install(PLACE)]
    assert "AMX" not in " ".join(commands) and "-DGGML_NATIVE=OFF" in commands[3]
    assert "llama-cpp-python==0.3.36" in commands[1] and commands[4].endswith(
        "llama-server llama-batched-bench"
    )


def test_tuned_it_has_a_slot_for_each_user() -> None:
    arguments = LlamaCpp("x", is_tuned=True).start(PLACE, SERVING).arguments
    assert arguments[0] == "/place/build/bin/llama-server"
    assert option(arguments, "--parallel") == "64" and option(arguments, "--ctx-size") == str(64 * 512)
    assert option(arguments, "--threads") == "2" and option(arguments, "--port") == "4242"


def test_by_default_it_has_its_own_settings() -> None:
    peer = LlamaCpp("x", is_tuned=False)
    assert "--parallel" not in peer.start(PLACE, SERVING).arguments and "default slots" in peer.facts
