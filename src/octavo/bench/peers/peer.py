"""What one says of an engine to measure it: how to install it, how to start it, how to know it serves."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Protocol


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """environment is added to the one that is there. otherwise: runs in place of one that has failed."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    otherwise: "Command | None" = None


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A folder of an engine's own, with a virtual environment in it."""

    folder: pathlib.Path

    @property
    def python(self) -> str:
        return str(self.folder / "venv" / "bin" / "python")

    def pip(self, *arguments: str) -> Command:
        return Command((self.python, "-m", "pip", "--disable-pip-version-check", *arguments))


@dataclasses.dataclass(frozen=True, slots=True)
class Serving:
    """What is to be served, and how much of it at once."""

    gguf: pathlib.Path | None
    checkpoint: pathlib.Path | None  # folder with config.json and safetensors
    port: int
    threads: int
    max_concurrency: int
    max_tokens: int  # of one request, prompt and answer


class Peer(Protocol):
    """name is what results and --engines call it; facts is one sentence on how it is built and set."""

    @property
    def name(self) -> str: ...

    @property
    def facts(self) -> str: ...

    @property
    def needs_checkpoint(self) -> bool:
        """Else it reads the GGUF file."""

    @property
    def ready_path(self) -> str:
        """Answers a GET with 200 when the engine serves."""

    @property
    def environment_name(self) -> str:
        """Engines that are installed alike share one."""

    def install(self, place: Place) -> Sequence[Command]:
        """Run once, in the place's folder, where a virtual environment has been made."""

    def start(self, place: Place, serving: Serving) -> Command:
        """Runs until it is signalled; serves the OpenAI API on 127.0.0.1."""
