"""OpenVINO GenAI, behind a server of ours."""

import dataclasses
import pathlib
from collections.abc import Sequence

from octavo.bench.peers.peer import Command, Place, Serving

VERSION = "2026.4.1"
SERVER = pathlib.Path(__file__).with_name("openvino_server.py")


@dataclasses.dataclass(frozen=True, slots=True)
class OpenVino:
    name: str = "openvino"
    facts: str = f"openvino-genai {VERSION}, continuous batching, converts the GGUF file at each start"
    needs_checkpoint: bool = False
    ready_path: str = "/health"
    environment_name: str = f"openvino-genai-{VERSION}"

    def install(self, place: Place) -> Sequence[Command]:
        return (place.pip("install", f"openvino-genai=={VERSION}", "numpy"),)

    def start(self, place: Place, serving: Serving) -> Command:
        options = {
            "--model": serving.gguf,
            "--port": serving.port,
            "--threads": serving.threads,
            "--max-num-seqs": serving.max_concurrency,
        }
        flags = [str(word) for pair in options.items() for word in pair]
        # -P: beside SERVER lies this file, which must not be taken for the package of its name
        return Command((place.python, "-P", str(SERVER), *flags))
