"""Opens a model twice over: as weights for the engine process, as text for the server process.

The one place that knows that models come as GGUF files, whole or split, or as directories (config.json,
*.safetensors, tokenizer files). All are fast: files are mapped, and the server never touches tensor data.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

from octavo.core.errors import ModelFileError
from octavo.core.json_object import parse_json_object
from octavo.core.metadata import ModelMetadata
from octavo.core.sampling_params import MAX_STOP_TOKEN_IDS
from octavo.core.split_name import model_stem
from octavo.core.tensor_slice import TensorNames
from octavo.models.architecture import Architecture
from octavo.models.loading import from_config, from_gguf, part_shapes
from octavo.models.lowering import lower
from octavo.models.program import NUMERICS_VERSION, Program
from octavo.text.chat_template import ChatTemplate
from octavo.text.end_tokens import END_TOKENS, end_ids_of_gguf
from octavo.text.tokenizer import Tokenizer
from octavo.text.tokenizer_directory import TokenizerDirectory
from octavo.text.vocabulary import Vocabulary
from octavo.weights.checkpoint import Checkpoint
from octavo.weights.formats import Tensor
from octavo.weights.gguf import GGUFMetadata
from octavo.weights.gguf_parts import GGUFParts
from octavo.weights.safetensors import read_directory

CONFIG_NAME = "config.json"
MAX_CONFIG_BYTES = 1 << 22

# Ends of names of tensors that old checkpoints store though the configuration says the same.
_DERIVED = (".rotary_emb.inv_freq", ".rotary_emb.cos_cached", ".rotary_emb.sin_cached")

_TEXT_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
    "generation_config.json", "chat_template.jinja",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """What the engine computes: the program and its weights."""

    name: str
    path: pathlib.Path
    architecture: Architecture
    program: Program
    checkpoint: Checkpoint
    end_ids: frozenset[int]  # tokens that end an answer
    text_fields: tuple[bytes, ...]  # what decides which tokens a text becomes, as it is stored

    def fingerprint(self) -> str:
        """Hex; files have the same one exactly when a prompt gives the same KV blocks. Reads every weight."""
        return self.checkpoint.fingerprint(self.fingerprint_context)

    @property
    def fingerprint_context(self) -> list[bytes]:
        """What the fingerprint depends on besides the weights."""
        return [f"{NUMERICS_VERSION} {self.architecture}".encode(), *self.text_fields]


@dataclasses.dataclass(frozen=True, slots=True)
class TextModel:
    """What the server needs of a model: text to tokens and back, and the limits of both."""

    name: str
    tokenizer: Tokenizer
    chat_template: ChatTemplate
    end_ids: frozenset[int]  # tokens that end an answer
    max_position: int  # the context the model was trained for, in tokens


def open_model(path: pathlib.Path) -> Model:
    """Maps the files and checks that they hold a model octavo can compute. Raises ModelFileError."""
    return _open_model_directory(path) if path.is_dir() else _open_model_gguf(path)


def open_text(path: pathlib.Path) -> TextModel:
    """Raises ModelFileError: also for a tokenizer, pre-tokenizer or chat template that is not supported."""
    return _open_text_directory(path) if path.is_dir() else _open_text_gguf(path)


def open_vocabulary(path: pathlib.Path) -> Vocabulary:
    """Without an encoder where the file allows. Raises ModelFileError."""
    if path.is_dir():
        return TokenizerDirectory(path).read().vocabulary
    with GGUFParts.open(path) as file:
        return Vocabulary.of_gguf(file.description)


def _open_model_gguf(path: pathlib.Path) -> Model:
    file = GGUFParts.open(path)
    metadata = file.description
    arch, names = _read_gguf(file)
    program = lower(arch)
    checkpoint = Checkpoint.of_file(str(file.path), file.tensors, names, part_shapes(program))
    end_tokens = file.metadata.string_indices("tokenizer.ggml.tokens", END_TOKENS)
    end_ids = _end_ids(str(file.path), end_ids_of_gguf(metadata, end_tokens), arch)
    text_fields = _text_fields(file.metadata)
    return Model(_name(file), file.path, arch, program, checkpoint, end_ids, text_fields)


def _read_gguf(file: GGUFParts) -> tuple[Architecture, TensorNames]:
    metadata = file.description
    prefix = metadata.text("general.architecture") + "."
    _check_sizes(metadata, prefix, ("block_count",), len(file.tensors), "tensors")
    # All experts of a layer are one tensor, so their number is bounded by its rows.
    widths = (
        "expert_count", "embedding_length", "attention.head_count", "attention.key_length",
        "rope.dimension_count",
    )  # fmt: skip
    _check_sizes(metadata, prefix, widths, _largest(file.tensors), "rows or columns")
    return from_gguf(metadata, file.tensors.keys())


def _open_text_gguf(path: pathlib.Path) -> TextModel:
    with GGUFParts.open(path) as file:
        metadata = file.description
        arch, _ = _read_gguf(file)
        vocabulary = Vocabulary.of_gguf(metadata)
        tokenizer = Tokenizer.of_gguf(metadata, vocabulary)
        return TextModel(
            name=_name(file),
            tokenizer=tokenizer,
            chat_template=ChatTemplate.of_gguf(metadata, tokenizer),
            end_ids=vocabulary.end_ids,
            max_position=arch.max_position,
        )


def _open_model_directory(path: pathlib.Path) -> Model:
    arch, names, tensors = _read_config(path)
    program = lower(arch)
    checkpoint = Checkpoint.of_file(str(path), tensors, names, part_shapes(program))
    text_files = (path / name for name in _TEXT_FILES)
    text_fields = tuple(file.name.encode() + file.read_bytes() for file in text_files if file.is_file())
    end_ids = _end_ids(str(path), TokenizerDirectory(path).end_ids(), arch)
    return Model(path.resolve().name, path, arch, program, checkpoint, end_ids, text_fields)


def _open_text_directory(path: pathlib.Path) -> TextModel:
    arch, _, _ = _read_config(path)
    tokenizer = Tokenizer.of_directory(path)
    return TextModel(
        name=path.resolve().name,
        tokenizer=tokenizer,
        chat_template=ChatTemplate.of_directory(path, tokenizer),
        end_ids=tokenizer.vocabulary.end_ids,
        max_position=arch.max_position,
    )


def _read_config(folder: pathlib.Path) -> tuple[Architecture, TensorNames, dict[str, Tensor]]:
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise ModelFileError(f"{folder} has no {CONFIG_NAME}, so it is no model's folder.")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise ModelFileError(f"{path} is longer than {MAX_CONFIG_BYTES:,} bytes.")
    config = ModelMetadata(str(path), parse_json_object(str(path), path.read_bytes()))
    tensors = read_directory(folder)
    _check_sizes(
        config, "", ("num_hidden_layers", "num_local_experts", "num_experts"), len(tensors), "tensors"
    )
    widths = ("hidden_size", "head_dim", "num_attention_heads")
    _check_sizes(config, "", widths, _largest(tensors), "rows or columns")
    arch, names = from_config(config)
    if arch.is_embedding_tied:
        tensors.pop("lm_head.weight", None)  # some checkpoints store the tied head too; transformers drops it
    return arch, names, {name: tensor for name, tensor in tensors.items() if not name.endswith(_DERIVED)}


def _end_ids(source: str, named: frozenset[int], arch: Architecture) -> frozenset[int]:
    """Those that the model can say: files of text may name tokens that its weights do not have.

    Raises ModelFileError for more than an engine has room for.
    """
    end_ids = frozenset(token_id for token_id in named if token_id < arch.vocab_size)
    if len(end_ids) > MAX_STOP_TOKEN_IDS:
        raise ModelFileError(f"{source}: {len(end_ids)} tokens end an answer; allowed: {MAX_STOP_TOKEN_IDS}.")
    return end_ids


def _largest(tensors: Mapping[str, Tensor]) -> int:
    return max((max(tensor.num_rows, tensor.num_columns) for tensor in tensors.values()), default=0)


def _check_sizes(metadata: ModelMetadata, prefix: str, keys: tuple[str, ...], limit: int, what: str) -> None:
    """What a model says of its size cannot exceed its weights: checked before anything so large is built."""
    for key in (prefix + key for key in keys):
        value = metadata.values.get(key)
        if type(value) is int and value > limit:
            raise metadata.error(key, value, f"{limit} at most, as there are {what}")


def _name(file: GGUFParts) -> str:
    return file.description.text("general.name", model_stem(file.path.name))


def _text_fields(metadata: GGUFMetadata) -> tuple[bytes, ...]:
    return tuple(key.encode() + metadata.raw(key) for key in sorted(metadata) if key.startswith("tokenizer."))
