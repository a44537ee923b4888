"""Reads GGUF files (versions 2 and 3, little-endian) by mapping them: nothing is copied, nothing is trusted.

Opening walks the header once and checks every count, size and offset against the size of the file before it
is used; metadata values are decoded when they are asked for. Knows nothing of models. Format: the GGUF
specification of the ggml project.
"""

import contextlib
import itertools
import math
import mmap
import pathlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from octavo.core.errors import ModelFileError
from octavo.weights.formats import Tensor, TensorFormat
from octavo.weights.mapped_file import MappedFile

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
MAX_KEY_BYTES = 65535
MAX_ALIGNMENT = 1 << 20
MAX_DIMENSIONS = 3

_DAMAGED = "it is truncated or damaged"
_STRING, _ARRAY = 8, 9
# Metadata value types by their number; the eighth and ninth are strings and arrays.
_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_TENSOR_FORMATS = {
    0: TensorFormat.F32,
    1: TensorFormat.F16,
    2: TensorFormat.Q4_0,
    3: TensorFormat.Q4_1,
    6: TensorFormat.Q5_0,
    7: TensorFormat.Q5_1,
    8: TensorFormat.Q8_0,
    12: TensorFormat.Q4_K,
    13: TensorFormat.Q5_K,
    14: TensorFormat.Q6_K,
    30: TensorFormat.BF16,
}
_OTHER_TENSOR_TYPES = {
    9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S",
    22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M",
    34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}  # fmt: skip
_SMALLEST_ENTRY = 8 + 4 + 1  # bytes of a metadata entry with an empty key and a one-byte value
_SMALLEST_TENSOR_INFO = 8 + 4 + 8 + 4 + 8  # bytes of a tensor's description: no name, one dimension


class GGUFFile:
    """An open model file.

    metadata   Mapping of key to int, float, bool, str, list[str] or NumPy array
    tensors    name to Tensor, in the file's order; their data are views into the mapping

    The mapping ends when close() was called and the last tensor view is gone.
    """

    def __init__(self, file: MappedFile) -> None:
        """Raises ModelFileError, naming the file and what is wrong with it."""
        self.path = file.path
        cursor = _Cursor(file.path, file.mapping)
        self.version, num_tensors, num_entries = _read_header(cursor)
        self.metadata = GGUFMetadata(cursor, num_entries)
        self.tensors: Mapping[str, Tensor] = _read_tensors(file, cursor, num_tensors, self._alignment())

    @classmethod
    def open(cls, path: pathlib.Path) -> "GGUFFile":
        return cls(MappedFile(path))

    def close(self) -> None:
        self.tensors = {}
        self.metadata.close()

    def __enter__(self) -> "GGUFFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _alignment(self) -> int:
        value = self.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(value, int) or not 8 <= value <= MAX_ALIGNMENT or value & (value - 1):
            allowed = f"powers of two from 8 to {MAX_ALIGNMENT}"
            raise ModelFileError(f"{self.path}: general.alignment is {value!r}; allowed: {allowed}.")
        return value


class GGUFMetadata(Mapping[str, Any]):
    """The key-value section. Opening checks where each value lies; reading a key decodes it, each time.

    lengths   of the arrays
    """

    def __init__(self, cursor: "_Cursor", num_entries: int) -> None:
        self._cursor = cursor
        self.lengths: dict[str, int] = {}
        self._spans: dict[str, tuple[int, int, int]] = {}  # key -> type, first byte, one past the last
        for _ in range(num_entries):
            key = cursor.string("a metadata key", MAX_KEY_BYTES)
            if key in self._spans:
                raise cursor.error(f"metadata key {key} appears twice")
            value_type = cursor.u32(f"the type of {key}")
            start = cursor.position
            cursor.skip_value(value_type, key)
            self._spans[key] = (value_type, start, cursor.position)
            if value_type == _ARRAY:
                self.lengths[key] = _U64.unpack_from(cursor.buffer, start + 4)[0]

    def __getitem__(self, key: str) -> Any:
        value_type, start, end = self._spans[key]
        return self._cursor.decode_value(value_type, start, end, key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._spans)

    def __len__(self) -> int:
        return len(self._spans)

    def raw(self, key: str) -> bytes:
        """The value as it is stored, type included: what a content hash wants."""
        value_type, start, end = self._spans[key]
        return value_type.to_bytes(4, "little") + self._cursor.buffer[start:end]

    def string_indices(self, key: str, wanted: Iterable[str]) -> dict[str, int]:
        """Where in an array of strings the wanted ones stand: those that are there, without decoding it.

        Empty for a key that is missing or has another type.
        """
        value_type, start, end = self._spans.get(key, (-1, 0, 0))
        if value_type != _ARRAY or _U32.unpack_from(self._cursor.buffer, start)[0] != _STRING:
            return {}
        return _string_indices(
            self._cursor.buffer[start + 12 : end], {text.encode(): text for text in wanted}
        )

    def close(self) -> None:
        self._spans = {}
        with contextlib.suppress(BufferError):  # tensor views are still held: the mapping ends with them
            self._cursor.buffer.close()


class _Cursor:
    """A position in the mapped file, moved only by reads that lie within it."""

    def __init__(self, path: pathlib.Path, buffer: mmap.mmap) -> None:
        self.path = path
        self.buffer = buffer
        self.size = len(buffer)
        self.position = 0

    def error(self, problem: str) -> ModelFileError:
        return ModelFileError(f"{self.path}: {problem}.")

    def take(self, num_bytes: int, what: str) -> int:
        """Step over num_bytes and return where they begin."""
        start = self.position
        if num_bytes > self.size - start:
            raise self.error(
                f"{what} needs {num_bytes} bytes at byte {start}, but the file has {self.size}: {_DAMAGED}"
            )
        self.position = start + num_bytes
        return start

    def u32(self, what: str) -> int:
        return int(_U32.unpack_from(self.buffer, self.take(4, what))[0])

    def u64(self, what: str) -> int:
        return int(_U64.unpack_from(self.buffer, self.take(8, what))[0])

    def string(self, what: str, max_bytes: int) -> str:
        length = self.u64(what)
        if length > max_bytes:
            raise self.error(f"{what} claims {length} bytes; allowed: {max_bytes}")
        start = self.take(length, what)
        return self._decode(self.buffer[start : self.position], what)

    def count(self, what: str, smallest: int) -> int:
        """A number of things that take at least `smallest` bytes each."""
        count = self.u64(f"the number of {what}")
        if count * smallest > self.size - self.position:
            raise self.error(f"it claims {count} {what}, which cannot fit into its {self.size} bytes")
        return count

    def skip_value(self, value_type: int, key: str) -> None:
        if value_type == _STRING:
            self.take(self.u64(key), key)
        elif value_type == _ARRAY:
            self._skip_array(key)
        else:
            self.take(self._scalar(value_type, key).size, key)

    def _skip_array(self, key: str) -> None:
        item_type = self.u32(key)
        if item_type == _ARRAY:
            raise self.error(f"metadata key {key} is an array of arrays, which is not supported")
        if item_type != _STRING:
            item_size = self._scalar(item_type, key).size
            self.take(self.count(f"values of {key}", item_size) * item_size, key)
            return
        count = self.count(f"strings of {key}", 8)
        unpack, buffer, position, limit = _U64.unpack_from, self.buffer, self.position, self.size - 8
        for _ in range(count):  # the hot loop of opening: about 100,000 strings in an ordinary model
            if position > limit:
                break
            position += 8 + unpack(buffer, position)[0]
        else:
            self.take(position - self.position, key)
            return
        raise self.error(f"the strings of {key} run past the end of the file: {_DAMAGED}")

    def decode_value(self, value_type: int, start: int, end: int, key: str) -> Any:
        """The value between start and end, which skip_value has walked before."""
        if value_type == _STRING:
            return self._decode(self.buffer[start + 8 : end], key)
        if value_type != _ARRAY:
            return self._scalar(value_type, key).unpack_from(self.buffer, start)[0]
        item_type = _U32.unpack_from(self.buffer, start)[0]
        if item_type == _STRING:
            return self._decode_strings(self.buffer[start + 12 : end], key)
        return np.frombuffer(self.buffer[start + 12 : end], dtype=self._scalar(item_type, key).format)

    def _decode_strings(self, data: bytes, key: str) -> list[str]:
        strings, position, end, unpack = [], 0, len(data), _U64.unpack_from
        try:
            while position < end:
                start = position + 8
                position = start + unpack(data, position)[0]
                strings.append(data[start:position].decode())
        except UnicodeDecodeError as error:
            raise self.error(f"string {len(strings)} of {key} is not UTF-8") from error
        return strings

    def _decode(self, data: bytes, what: str) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise self.error(f"{what} is not UTF-8") from error

    def _scalar(self, value_type: int, key: str) -> struct.Struct:
        if value_type not in _SCALARS:
            raise self.error(f"metadata key {key} has the unknown value type {value_type}")
        return struct.Struct(_SCALARS[value_type])


def _string_indices(data: bytes, wanted: Mapping[bytes, str]) -> dict[str, int]:
    """Steps over the strings' lengths, and no further than the last place where a wanted one may stand."""
    stored = {_U64.pack(len(text)) + text: text for text in wanted}
    places = {place for form in stored for place in _places(data, form)}
    position, unpack, last = 0, _U64.unpack_from, max(places, default=-1)
    found: dict[str, int] = {}
    for index in itertools.count():
        if position > last:
            return found
        if position in places:
            size = unpack(data, position)[0]
            found[wanted[data[position + 8 : position + 8 + size]]] = index
        position += 8 + unpack(data, position)[0]
    raise AssertionError  # the loop has no other end


def _places(data: bytes, form: bytes) -> Iterator[int]:
    place = data.find(form)
    while place >= 0:
        yield place
        place = data.find(form, place + 1)


_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


def _read_header(cursor: _Cursor) -> tuple[int, int, int]:
    """Version, number of tensors, number of metadata entries."""
    magic = cursor.buffer[: len(MAGIC)]
    if magic != MAGIC:
        raise cursor.error(f"it begins with {magic!r}, not {MAGIC!r}: it is not a GGUF file")
    cursor.take(len(MAGIC), "the magic number")
    version = cursor.u32("the version")
    if version not in VERSIONS:
        if version.to_bytes(4, "big") in [known.to_bytes(4, "little") for known in VERSIONS]:
            raise cursor.error("it is a big-endian GGUF file; only little-endian ones are supported")
        raise cursor.error(f"it is GGUF version {version}; supported: {', '.join(map(str, VERSIONS))}")
    num_tensors = cursor.count("tensors", _SMALLEST_TENSOR_INFO)
    return version, num_tensors, cursor.count("metadata entries", _SMALLEST_ENTRY)


def _read_tensors(mapped: MappedFile, cursor: _Cursor, num_tensors: int, alignment: int) -> dict[str, Tensor]:
    infos = [_read_tensor_info(cursor) for _ in range(num_tensors)]
    data_start = cursor.position + -cursor.position % alignment
    file = np.frombuffer(cursor.buffer, dtype=np.uint8)
    tensors: dict[str, Tensor] = {}
    spans: list[tuple[int, int, str]] = []
    for name, tensor_format, num_rows, num_columns, offset in infos:
        row_length = num_columns if num_columns > 1 else num_rows
        num_bytes = tensor_format.row_bytes(row_length) * (num_rows if num_columns > 1 else 1)
        start = data_start + offset
        if offset % alignment:
            raise cursor.error(f"tensor {name} lies at offset {offset}, not a multiple of {alignment}")
        if start + num_bytes > cursor.size:
            raise cursor.error(
                f"tensor {name} ends at byte {start + num_bytes}, but the file has {cursor.size}: {_DAMAGED}"
            )
        if name in tensors:
            raise cursor.error(f"tensor {name} appears twice")
        data = file[start : start + num_bytes]
        tensors[name] = Tensor(name, tensor_format, num_rows, num_columns, data, mapped)
        spans.append((start, start + num_bytes, name))
    spans.sort()
    for (_, end, first), (start, _, second) in itertools.pairwise(spans):
        if end > start:
            raise cursor.error(f"tensors {first} and {second} overlap")
    return tensors


def _read_tensor_info(cursor: _Cursor) -> tuple[str, TensorFormat, int, int, int]:
    """Name, format, rows, columns, offset into the data section. Dimensions are stored innermost first.

    A third dimension stacks matrices: their rows follow each other, here as in the file.
    """
    name = cursor.string("a tensor name", MAX_KEY_BYTES)
    num_dimensions = cursor.u32(f"the number of dimensions of {name}")
    if not 1 <= num_dimensions <= MAX_DIMENSIONS:
        raise cursor.error(f"tensor {name} has {num_dimensions} dimensions; supported: 1 to {MAX_DIMENSIONS}")
    dimensions = [cursor.u64(f"a dimension of {name}") for _ in range(num_dimensions)]
    if min(dimensions) < 1:
        raise cursor.error(f"tensor {name} has a dimension of zero")
    tensor_type = cursor.u32(f"the type of {name}")
    offset = cursor.u64(f"the offset of {name}")
    tensor_format = _TENSOR_FORMATS.get(tensor_type)
    if tensor_format is None:
        label = _OTHER_TENSOR_TYPES.get(tensor_type, f"type {tensor_type}")
        supported = ", ".join(known.label for known in _TENSOR_FORMATS.values())
        raise cursor.error(f"tensor {name} is stored as {label}; supported: {supported}")
    if dimensions[0] % tensor_format.block_size:
        raise cursor.error(
            f"tensor {name} has rows of {dimensions[0]} elements; {tensor_format.label} needs a multiple of "
            f"{tensor_format.block_size}"
        )
    if num_dimensions > 1:
        return name, tensor_format, math.prod(dimensions[1:]), dimensions[0], offset
    if tensor_format.is_quantized:
        label = tensor_format.label
        raise cursor.error(f"vector {name} is stored as {label}; supported for vectors: F32, F16, BF16")
    return name, tensor_format, dimensions[0], 1, offset
