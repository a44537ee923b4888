"""Opens a model file twice over: as weights for the engine process, as text for the server process.

The one place that knows that models come as GGUF files. Both are fast: the file is mapped, and the server
never touches tensor data.
"""

import dataclasses
import pathlib

from octavo.core.metadata import ModelMetadata
from octavo.models.architecture import Architecture
from octavo.models.loading import from_gguf, part_shapes
from octavo.models.lowering import lower
from octavo.models.program import NUMERICS_VERSION, Program
from octavo.text.chat_template import ChatTemplate
from octavo.text.end_tokens import END_TOKENS, end_ids_of_gguf
from octavo.text.tokenizer import Tokenizer
from octavo.text.vocabulary import Vocabulary
from octavo.weights.checkpoint import Checkpoint
from octavo.weights.gguf import GGUFFile, GGUFMetadata


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """What the engine computes: the program and its weights."""

    name: str
    architecture: Architecture
    program: Program
    checkpoint: Checkpoint
    end_ids: frozenset[int]  # tokens that end an answer
    file: GGUFFile

    def fingerprint(self) -> str:
        """Hex; files have the same one exactly when a prompt gives the same KV blocks. Reads every weight."""
        text_fields = [key.encode() + raw for key, raw in _text_fields(self.file.metadata)]
        return self.checkpoint.fingerprint([f"{NUMERICS_VERSION} {self.architecture}".encode(), *text_fields])


@dataclasses.dataclass(frozen=True, slots=True)
class TextModel:
    """What the server needs of a model: text to tokens and back, and the limits of both."""

    name: str
    tokenizer: Tokenizer
    chat_template: ChatTemplate
    end_ids: frozenset[int]  # tokens that end an answer
    max_position: int  # the context the model was trained for, in tokens


def open_model(path: pathlib.Path) -> Model:
    """Maps the file and checks that it holds a model octavo can compute. Raises ModelFileError."""
    file = GGUFFile.open(path)
    metadata = ModelMetadata(str(path), file.metadata)
    arch, names = from_gguf(metadata, file.tensors.keys())
    program = lower(arch)
    checkpoint = Checkpoint.of_file(str(path), file.tensors, names, part_shapes(program))
    end_tokens = file.metadata.string_indices("tokenizer.ggml.tokens", END_TOKENS)
    end_ids = end_ids_of_gguf(metadata, end_tokens)
    return Model(_name(path, metadata), arch, program, checkpoint, end_ids, file)


def open_text(path: pathlib.Path) -> TextModel:
    """Raises ModelFileError: also for a tokenizer, pre-tokenizer or chat template that is not supported."""
    with GGUFFile.open(path) as file:
        metadata = ModelMetadata(str(path), file.metadata)
        arch, _ = from_gguf(metadata, file.tensors.keys())
        vocabulary = Vocabulary.of_gguf(metadata)
        tokenizer = Tokenizer.of_gguf(metadata, vocabulary)
        return TextModel(
            name=_name(path, metadata),
            tokenizer=tokenizer,
            chat_template=ChatTemplate.of_gguf(metadata, tokenizer),
            end_ids=vocabulary.end_ids,
            max_position=arch.max_position,
        )


def _name(path: pathlib.Path, metadata: ModelMetadata) -> str:
    return metadata.text("general.name", path.stem)


def _text_fields(metadata: GGUFMetadata) -> list[tuple[str, bytes]]:
    return [(key, metadata.raw(key)) for key in sorted(metadata) if key.startswith("tokenizer.")]
