"""From what a model says about itself to its Architecture and tensor names: finds the family and asks it.

Knows no file format: files are read above, and handed down as metadata and names.
"""

from collections.abc import Collection, Mapping
from typing import Protocol

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.core.tensor_slice import TensorNames
from octavo.models.architecture import Architecture
from octavo.models.families import llama
from octavo.models.program import Program


class Family(Protocol):
    """What a module of families/ offers."""

    NAME: str  # general.architecture of a GGUF file
    CONFIG_NAME: str  # in "architectures" of a config.json

    def architecture_of_gguf(
        self, metadata: ModelMetadata, tensor_names: Collection[str]
    ) -> Architecture: ...

    def gguf_names(self, arch: Architecture) -> TensorNames: ...

    def architecture_of_config(self, config: ModelMetadata) -> Architecture: ...

    def config_names(self, arch: Architecture) -> TensorNames: ...


FAMILIES: tuple[Family, ...] = (llama,)


def from_gguf(metadata: ModelMetadata, tensor_names: Collection[str]) -> tuple[Architecture, TensorNames]:
    """The architecture of a GGUF file, and its tensor names by part.

    Raises ModelFileError: architecture not supported (named), metadata missing or impossible.
    """
    name = metadata.text("general.architecture")
    for family in FAMILIES:
        if name == family.NAME:
            arch = family.architecture_of_gguf(metadata, tensor_names)
            return arch, family.gguf_names(arch)
    raise _unsupported(metadata.source, name, [family.NAME for family in FAMILIES])


def from_config(config: ModelMetadata) -> tuple[Architecture, TensorNames]:
    """The same from a Hugging Face config.json, for the tensor names of its checkpoints."""
    names = config.values.get("architectures") or [config.values.get("model_type")]
    for family in FAMILIES:
        if family.CONFIG_NAME in names or family.NAME in names:
            arch = family.architecture_of_config(config)
            return arch, family.config_names(arch)
    raise _unsupported(config.source, ", ".join(map(str, names)), [family.CONFIG_NAME for family in FAMILIES])


def part_shapes(program: Program) -> Mapping[str, tuple[int, int]]:
    """Rows and columns of every tensor the program needs, by part name."""
    return {part: (rows, weight.num_columns) for weight in program.weights for part, rows in weight.parts}


def _unsupported(source: str, name: str, supported: list[str]) -> ModelFileError:
    return ModelFileError(
        f"{source}: the model architecture {name!r} is not supported; supported: {', '.join(supported)}."
    )
