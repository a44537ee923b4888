"""llama.cpp, built from the source that the llama-cpp-python package carries."""

import dataclasses
import pathlib
from collections.abc import Sequence

from octavo.bench.peers.peer import Command, Place, Serving

VERSION = "0.3.36"  # of llama-cpp-python
CPUINFO = pathlib.Path("/proc/cpuinfo")

# A processor's flag, and llama.cpp's option for it. Not AMX: its int8 path crashes on SmolLM2 (this version).
OPTIONS = {
    "avx": "AVX",
    "avx2": "AVX2",
    "fma": "FMA",
    "f16c": "F16C",
    "bmi2": "BMI2",
    "avx512f": "AVX512",
    "avx512_vbmi": "AVX512_VBMI",
    "avx512vbmi": "AVX512_VBMI",
    "avx512_vnni": "AVX512_VNNI",
    "avx512_bf16": "AVX512_BF16",
}


def build_options(cpuinfo: pathlib.Path = CPUINFO) -> list[str]:
    """For this processor, without AMX."""
    flags: set[str] = set()
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            flags.update(value.split())
    return sorted({f"-DGGML_{option}=ON" for flag, option in OPTIONS.items() if flag in flags})


@dataclasses.dataclass(frozen=True, slots=True)
class LlamaCpp:
    """is_tuned: a slot for every user; else llama-server's own settings, which are Ollama's too."""

    name: str
    is_tuned: bool
    needs_checkpoint: bool = False
    ready_path: str = "/health"
    environment_name: str = f"llama.cpp-{VERSION}"

    @property
    def facts(self) -> str:
        slots = "a slot for each user" if self.is_tuned else "its default slots"
        return f"source in llama-cpp-python {VERSION}, every AVX of this processor, AMX off; {slots}"

    def install(self, place: Place) -> Sequence[Command]:
        source = f"llama_cpp_python-{VERSION}/vendor/llama.cpp"
        options = (
            "-DCMAKE_BUILD_TYPE=Release",
            "-DBUILD_SHARED_LIBS=OFF",
            "-DLLAMA_CURL=OFF",
            "-DGGML_NATIVE=OFF",
        )
        targets = ("llama-server", "llama-batched-bench")
        binary = str(place.folder / "venv" / "bin")
        ninja = ("-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={binary}/ninja")
        return (
            place.pip("install", "cmake", "ninja"),
            place.pip(
                "download", "--no-deps", "--no-binary", "llama-cpp-python", f"llama-cpp-python=={VERSION}"
            ),
            Command(("tar", "-xzf", f"llama_cpp_python-{VERSION}.tar.gz")),
            Command((f"{binary}/cmake", *ninja, "-S", source, "-B", "build", *options, *build_options())),
            Command((f"{binary}/cmake", "--build", "build", "--target", *targets)),
        )  # fmt: skip

    def start(self, place: Place, serving: Serving) -> Command:
        arguments = [
            str(place.folder / "build" / "bin" / "llama-server"),
            *("--model", str(serving.gguf), "--host", "127.0.0.1", "--port", str(serving.port)),
            *("--threads", str(serving.threads), "--threads-batch", str(serving.threads)),
        ]
        if self.is_tuned:
            slots = serving.max_concurrency
            arguments += ["--parallel", str(slots), "--ctx-size", str(slots * _rounded(serving.max_tokens))]
        return Command(tuple(arguments))


def _rounded(num_tokens: int) -> int:
    """A slot's context: some to spare, in whole 256s, as llama.cpp rounds it."""
    return (num_tokens + 16 + 255) // 256 * 256
