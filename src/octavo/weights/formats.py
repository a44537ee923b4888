"""How the numbers of a tensor are stored, and the one rule by which every format becomes bf16.

This is the definition that the native kernels are tested against; nothing on the serving path runs it.
"""

import dataclasses
import enum

import numpy as np
from numpy.typing import NDArray

from octavo.weights.mapped_file import MappedFile

Bytes = NDArray[np.uint8]
F32 = NDArray[np.float32]
BF16 = NDArray[np.uint16]

_GROUP = 32  # columns that share a scale and a minimum
_QUIET_NAN = np.uint16(0x7FC0)


class TensorFormat(enum.Enum):
    """A name, and how many bytes hold how many consecutive elements of a row.

    A block of 32. Nibbles are 16 bytes: element i the low four bits of byte i, i + 16 the high four.

    Q8_0   f16 d, 32 x int8 q                                         value d * q
    Q4_0   f16 d, nibbles                                             d * (q - 8)
    Q4_1   f16 d, f16 m, nibbles                                      d * q + m
    Q5_0   f16 d, u32 whose bit i is bit 4 of element i, nibbles      d * (q - 16)
    Q5_1   f16 d, f16 m, the same u32, nibbles                        d * q + m

    A block of 256, in groups g of 32. Nibbles are 128 bytes, 32 for two groups: low four bits, high four.

    Q4_K   f16 d, f16 m, 12 bytes: 8 s and 8 t of six bits, nibbles   d * s[g] * q - m * t[g]
    Q5_K   the same, but before the nibbles 32 bytes: bit g of byte
           i is bit 4 of element i of group g                         d * s[g] * q - m * t[g]
    Q6_K   128 bytes: low four bits, 64 bytes: high two bits, 16 x
           int8 s, one for 16 elements, f16 d                         d * s * (q - 32)

    Products are exact in fp32 (23 bits at most); a sum is rounded once.
    """

    F32 = ("F32", 1, 4)
    F16 = ("F16", 1, 2)
    BF16 = ("BF16", 1, 2)
    Q8_0 = ("Q8_0", 32, 34)
    Q4_0 = ("Q4_0", 32, 18)
    Q4_1 = ("Q4_1", 32, 20)
    Q5_0 = ("Q5_0", 32, 22)
    Q5_1 = ("Q5_1", 32, 24)
    Q4_K = ("Q4_K", 256, 144)
    Q5_K = ("Q5_K", 256, 176)
    Q6_K = ("Q6_K", 256, 210)

    def __init__(self, label: str, block_size: int, block_bytes: int) -> None:
        self.label = label
        self.block_size = block_size  # elements
        self.block_bytes = block_bytes

    @property
    def is_quantized(self) -> bool:
        return self.block_size > 1

    def row_bytes(self, num_columns: int) -> int:
        """Bytes of one row; num_columns is a multiple of block_size."""
        return num_columns // self.block_size * self.block_bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """A matrix [num_rows, num_columns] in row-major order, or a vector: num_columns == 1.

    data is a flat, contiguous, usually read-only view, often straight into a mapped file.
    """

    name: str
    format: TensorFormat
    num_rows: int
    num_columns: int
    data: Bytes
    file: MappedFile | None = None

    @property
    def num_bytes(self) -> int:
        return self.data.nbytes

    def rows(self, first: int, count: int) -> "Tensor":
        """Rows [first, first + count), which lie within the tensor: a view, under the same name."""
        row_bytes = self.format.row_bytes(self.num_columns)
        data = self.data[first * row_bytes : (first + count) * row_bytes]
        return Tensor(self.name, self.format, count, self.num_columns, data, self.file)

    @classmethod
    def of(cls, name: str, array: NDArray[np.float32] | NDArray[np.float16] | NDArray[np.uint16]) -> "Tensor":
        """A tensor over an array of one or two axes; the dtype says the format (uint16 holds bf16 bits)."""
        format = _FORMAT_OF_DTYPE[array.dtype.name]
        num_rows, num_columns = array.shape if array.ndim == 2 else (array.size, 1)
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return cls(name, format, num_rows, num_columns, data)


_FORMAT_OF_DTYPE = {"float32": TensorFormat.F32, "float16": TensorFormat.F16, "uint16": TensorFormat.BF16}


def expand_to_f32(tensor: Tensor) -> F32:
    """[num_rows, num_columns]: the stored values in fp32: exact, but for d * q + m, which is rounded once."""
    with np.errstate(invalid="ignore"):  # infinite scales times zero
        values = _decode(tensor.data.reshape(-1, tensor.format.block_bytes), tensor.format)
    return values.astype(np.float32, copy=False).reshape(tensor.num_rows, tensor.num_columns)


def expand_to_bf16(tensor: Tensor) -> BF16:
    """[num_rows, num_columns]: the bits every linear layer computes with, whatever the format."""
    if tensor.format is TensorFormat.BF16:
        return tensor.data.view("<u2").reshape(tensor.num_rows, tensor.num_columns)
    return round_weights(expand_to_f32(tensor))


def round_weights(values: F32) -> BF16:
    """fp32 to bf16 bits by "add half, mask": ties away from zero. Infinities stay, a NaN becomes 0x7FC0."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + np.uint32(0x8000)) >> 16).astype(np.uint16)
    rounded[np.isnan(values)] = _QUIET_NAN
    return rounded


@dataclasses.dataclass(frozen=True, slots=True)
class Integers:
    """A quantized tensor taken apart: value = scale * digit + minimum, in Q6_K scale * step * digit.

    digits [num_rows, num_columns] are whole numbers, zero points subtracted; scales, and minima where there
    are any, [num_rows, groups of 32]; steps, whole numbers too, [num_rows, halves of groups].
    """

    digits: F32
    scales: F32
    minima: F32 | None = None
    steps: F32 | None = None

    def reshaped(self, num_rows: int) -> "Integers":
        parts = (self.digits, self.scales, self.minima, self.steps)
        return Integers(*(None if part is None else part.reshape(num_rows, -1) for part in parts))  # type: ignore[arg-type]


def integers_of(tensor: Tensor) -> Integers:
    """Of a tensor in a quantized format."""
    blocks = tensor.data.reshape(-1, tensor.format.block_bytes)
    return _integers(blocks, tensor.format).reshaped(tensor.num_rows)


def _decode(blocks: Bytes, format: TensorFormat) -> F32:
    """[num_blocks, block_size]"""
    match format:
        case TensorFormat.F32:
            return blocks.view("<f4")
        case TensorFormat.F16:
            return blocks.view("<f2").astype(np.float32)
        case TensorFormat.BF16:
            return (blocks.view("<u2").astype(np.uint32) << 16).view(np.float32)
    parts = _integers(blocks, format)
    scales = parts.scales if parts.steps is None else parts.scales.repeat(2, axis=1) * parts.steps
    values = scales.repeat(parts.digits.shape[1] // scales.shape[1], axis=1) * parts.digits
    return values if parts.minima is None else values + parts.minima.repeat(_GROUP, axis=1)


def _integers(blocks: Bytes, format: TensorFormat) -> Integers:
    """Arrays [num_blocks, ...]."""
    match format:
        case TensorFormat.Q8_0:
            return Integers(blocks[:, 2:].view(np.int8).astype(np.float32), _half(blocks, 0))
        case TensorFormat.Q4_0:
            return Integers(_nibbles(blocks[:, 2:], 16) - 8, _half(blocks, 0))
        case TensorFormat.Q4_1:
            return Integers(_nibbles(blocks[:, 4:], 16), _half(blocks, 0), _half(blocks, 2))
        case TensorFormat.Q5_0:
            digits = _nibbles(blocks[:, 6:], 16) + _fifth_bits(blocks[:, 2:6]) - 16
            return Integers(digits, _half(blocks, 0))
        case TensorFormat.Q5_1:
            digits = _nibbles(blocks[:, 8:], 16) + _fifth_bits(blocks[:, 4:8])
            return Integers(digits, _half(blocks, 0), _half(blocks, 2))
        case TensorFormat.Q4_K:
            return _shared(blocks, _nibbles(blocks[:, 16:], 32))
        case TensorFormat.Q5_K:
            bits = [blocks[:, 16:48] >> g & 1 for g in range(8)]
            high = np.concatenate(bits, axis=1).astype(np.float32) * 16
            return _shared(blocks, _nibbles(blocks[:, 48:], 32) + high)
        case TensorFormat.Q6_K:
            pairs = [blocks[:, at : at + 32] >> bit & 3 for at in (128, 160) for bit in (0, 2, 4, 6)]
            high = np.concatenate(pairs, axis=1).astype(np.float32) * 16
            digits = _nibbles(blocks[:, :128], 64) + high - 32
            steps = blocks[:, 192:208].view(np.int8).astype(np.float32)
            return Integers(digits, _half(blocks, 208).repeat(8, axis=1), steps=steps)
    raise AssertionError(f"{format.label} holds no integers")


def _shared(blocks: Bytes, digits: F32) -> Integers:
    """Q4_K and Q5_K. Groups 0 to 3 have s in bytes 0-3 of the twelve and t in 4-7; groups 4 to 7 have nibbles
    of both in bytes 8-11, and the two bits above them on top of the others."""
    first, second, third = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    s = np.concatenate((first & 63, (third & 15) | (first >> 2 & 48)), axis=1)
    t = np.concatenate((second & 63, (third >> 4) | (second >> 2 & 48)), axis=1)
    scales, minima = _half(blocks, 0) * s.astype(np.float32), _half(blocks, 2) * t.astype(np.float32)
    return Integers(digits, scales, -minima)


def _half(blocks: Bytes, offset: int) -> F32:
    """The f16 at a byte offset of every block, [num_blocks, 1]."""
    return np.ascontiguousarray(blocks[:, offset : offset + 2]).view("<f2").astype(np.float32)


def _nibbles(data: Bytes, run: int) -> F32:
    """Of each run of bytes first the low four bits, then the high four."""
    runs = data.reshape(len(data), -1, run)
    return np.concatenate((runs & 15, runs >> 4), axis=2).reshape(len(data), -1).astype(np.float32)


def _fifth_bits(data: Bytes) -> F32:
    """16 for every bit that is set, [num_blocks, 32]."""
    return np.unpackbits(data, axis=1, bitorder="little").astype(np.float32) * 16
