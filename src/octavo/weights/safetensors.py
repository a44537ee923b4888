"""Reads safetensors files and directories of them by mapping: nothing is copied, nothing is trusted.

Every size and offset of a header is checked against the file before it is used. The reader is our own because
the format is a length and a JSON object, and the checks are what we want of it. Weights stored as pickles are
refused, never read: a pickle runs the code it holds. Knows nothing of models.
"""

import math
import pathlib
from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np

from octavo.core.errors import ModelFileError
from octavo.core.json_object import parse_json_object
from octavo.weights.formats import Bytes, Tensor, TensorFormat
from octavo.weights.mapped_file import MappedFile

MAX_JSON_BYTES = 1 << 25  # of a header or an index; a thousand layers need about 2 MB
MAX_DIMENSIONS = 3
SINGLE_NAME, INDEX_NAME = "model.safetensors", "model.safetensors.index.json"

_LENGTH_BYTES = 8  # of the header's length, which the file begins with
_FORMATS = {"F32": TensorFormat.F32, "F16": TensorFormat.F16, "BF16": TensorFormat.BF16}
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def read_directory(folder: pathlib.Path) -> dict[str, Tensor]:
    """The tensors of a model directory by name: of model.safetensors, or of the files its index names.

    Raises ModelFileError, naming the file and what is wrong with it.
    """
    if (folder / INDEX_NAME).is_file():
        return _read_shards(folder)
    if (folder / SINGLE_NAME).is_file():
        return read_file(folder / SINGLE_NAME)
    for pattern in _PICKLES:
        for path in sorted(folder.glob(pattern)):
            raise ModelFileError(
                f"{path}: weights in a pickle are not read, because reading one runs the code in it. Convert"
                " them to safetensors: transformers does it with from_pretrained and save_pretrained."
            )
    raise ModelFileError(f"{folder}: it holds neither {SINGLE_NAME} nor {INDEX_NAME}.")


def read_file(path: pathlib.Path) -> dict[str, Tensor]:
    """The tensors of one file, in its order: views into the mapping, which lives as long as they do."""
    mapped = MappedFile(path)
    file = np.frombuffer(mapped.mapping, np.uint8)
    if len(file) < _LENGTH_BYTES:
        raise ModelFileError(
            f"{path}: it has {len(file)} bytes; a safetensors file has at least {_LENGTH_BYTES}."
        )
    length = int.from_bytes(file[:_LENGTH_BYTES].tobytes(), "little")
    if length > min(MAX_JSON_BYTES, len(file) - _LENGTH_BYTES):
        raise ModelFileError(
            f"{path}: it claims a header of {length} bytes; the file has {len(file)} bytes, and a header"
            f" at most {MAX_JSON_BYTES}."
        )
    data = file[_LENGTH_BYTES + length :]
    header = parse_json_object(str(path), file[_LENGTH_BYTES : _LENGTH_BYTES + length].tobytes())
    header.pop("__metadata__", None)  # free text about the file
    spans: dict[str, tuple[int, int]] = {}
    tensors: dict[str, Tensor] = {}
    for name, entry in header.items():
        spans[name] = _span(path, name, entry, len(data))
        tensors[name] = _tensor(mapped, name, entry, data[slice(*spans[name])])
    _check_layout(path, spans, len(data))
    return tensors


def _span(path: pathlib.Path, name: str, entry: Any, num_bytes: int) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not _are_sizes(offsets, 0) or len(offsets) != 2:
        raise _error(path, name, f"has the data offsets {_short(offsets)}; expected are two integers")
    begin, end = offsets
    if not begin <= end <= num_bytes:
        raise _error(path, name, f"lies at bytes {begin} to {end}; the file has {num_bytes} bytes of data")
    return begin, end


def _tensor(file: MappedFile, name: str, entry: Mapping[str, Any], data: Bytes) -> Tensor:
    path = file.path
    dtype, shape = entry.get("dtype"), entry.get("shape")
    format = _FORMATS.get(dtype) if isinstance(dtype, str) else None
    if format is None:
        raise _error(path, name, f"is stored as {_short(dtype)}; supported: {', '.join(_FORMATS)}")
    if not _are_sizes(shape, 1) or not 1 <= len(shape) <= MAX_DIMENSIONS:
        raise _error(
            path, name, f"has the shape {_short(shape)}; supported: 1 to {MAX_DIMENSIONS} axes, none empty"
        )
    if math.prod(shape) * format.block_bytes != len(data):
        raise _error(path, name, f"of shape {_short(shape)} in {format.label} has {len(data)} bytes of data")
    num_columns = shape[-1] if len(shape) > 1 else 1
    return Tensor(name, format, math.prod(shape) // num_columns, num_columns, data, file)


def _check_layout(path: pathlib.Path, spans: Mapping[str, tuple[int, int]], num_bytes: int) -> None:
    """The format's own rule: tensors lie one behind the other and fill the file."""
    position = 0
    for name, (begin, end) in sorted(spans.items(), key=lambda item: item[1]):
        if begin != position:
            problem = "overlaps another" if begin < position else "leaves a hole before it"
            raise _error(path, name, f"at byte {begin} of the data {problem}")
        position = end
    if position != num_bytes:
        raise ModelFileError(f"{path}: its tensors end at byte {position} of {num_bytes} bytes of data.")


def _read_shards(folder: pathlib.Path) -> dict[str, Tensor]:
    path = folder / INDEX_NAME
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ModelFileError(f"{path}: it has {path.stat().st_size} bytes; allowed are {MAX_JSON_BYTES}.")
    files = parse_json_object(str(path), path.read_bytes()).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise ModelFileError(f"{path}: it has no weight_map from tensor names to files.")
    for name, file in files.items():
        if not _is_plain_name(file):
            raise _error(
                path, name, f"is in {_short(file)}; allowed are names of .safetensors files beside the index"
            )
    tensors: dict[str, Tensor] = {}
    for file in dict.fromkeys(files.values()):
        for name, tensor in read_file(folder / file).items():
            if files.get(name) != file:
                raise _error(path, name, f"is in {file}, where the index does not say so")
            tensors[name] = tensor
    missing = [name for name in files if name not in tensors]
    if missing:
        raise _error(path, missing[0], f"is not in {files[missing[0]]}, where the index says it is")
    return tensors


def _is_plain_name(file: Any) -> bool:
    return isinstance(file, str) and file.endswith(".safetensors") and file.isprintable() and "/" not in file


def _are_sizes(value: Any, minimum: int) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and minimum <= item < 1 << 63 for item in value)


def _error(path: pathlib.Path, name: str, problem: str) -> ModelFileError:
    return ModelFileError(f"{path}: tensor {_short(name)} {problem}.")


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:76]} ..."
