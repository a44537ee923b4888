"""From what a model says about itself to its Architecture and tensor names: finds the family and asks it.

Knows no file format: files are read above, and handed down as metadata and names.
"""

from collections.abc import Collection, Mapping
from typing import Protocol

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.core.tensor_slice import TensorNames
from octavo.models.architecture import Architecture
from octavo.models.families import (
    gemma2,
    gemma3,
    granite,
    llama,
    mistral,
    mixtral,
    olmo2,
    phi3,
    qwen2,
    qwen3,
    qwen3moe,
    smollm3,
)
from octavo.models.program import Program
from octavo.models.soundness import checked_rotation


class GGUFFamily(Protocol):
    """What a module of families/ offers for GGUF files."""

    NAME: str  # general.architecture

    def architecture_of_gguf(
        self, metadata: ModelMetadata, tensor_names: Collection[str]
    ) -> Architecture: ...

    def gguf_names(self, arch: Architecture) -> TensorNames: ...


class ConfigFamily(Protocol):
    """The same for Hugging Face checkpoints."""

    NAME: str  # model_type of a config.json
    CONFIG_NAME: str  # in its "architectures"

    def architecture_of_config(self, config: ModelMetadata) -> Architecture: ...

    def config_names(self, arch: Architecture) -> TensorNames: ...


GGUF_FAMILIES: tuple[GGUFFamily, ...] = (
    gemma2, gemma3, granite, llama, olmo2, phi3, qwen2, qwen3, qwen3moe, smollm3,
)  # fmt: skip
CONFIG_FAMILIES: tuple[ConfigFamily, ...] = (
    gemma2, gemma3, granite, llama, mistral, mixtral, olmo2, phi3, qwen2, qwen3, qwen3moe, smollm3,
)  # fmt: skip


def from_gguf(metadata: ModelMetadata, tensor_names: Collection[str]) -> tuple[Architecture, TensorNames]:
    """The architecture of a GGUF file, and its tensor names by part.

    Raises ModelFileError: architecture not supported (named), metadata missing or impossible.
    """
    name = metadata.text("general.architecture")
    for family in GGUF_FAMILIES:
        if name == family.NAME:
            arch = checked_rotation(metadata.source, family.architecture_of_gguf(metadata, tensor_names))
            return arch, family.gguf_names(arch)
    raise _unsupported(metadata.source, name, [family.NAME for family in GGUF_FAMILIES])


def from_config(config: ModelMetadata) -> tuple[Architecture, TensorNames]:
    """The same from a Hugging Face config.json, for the tensor names of its checkpoints."""
    has_classes = bool(config.values.get("architectures"))
    names = config.strings("architectures") if has_classes else [config.text("model_type")]
    for family in CONFIG_FAMILIES:
        if family.CONFIG_NAME in names or family.NAME in names:
            arch = checked_rotation(config.source, family.architecture_of_config(config))
            return arch, family.config_names(arch)
    supported = [family.CONFIG_NAME for family in CONFIG_FAMILIES]
    raise _unsupported(config.source, ", ".join(map(str, names)), supported)


def part_shapes(program: Program) -> Mapping[str, tuple[int, int]]:
    """Rows and columns of every tensor the program needs, by part name."""
    return {part: (rows, weight.num_columns) for weight in program.weights for part, rows in weight.parts}


def _unsupported(source: str, name: str, supported: list[str]) -> ModelFileError:
    return ModelFileError(
        f"{source}: the model architecture {name!r} is not supported; supported: {', '.join(supported)}."
    )
