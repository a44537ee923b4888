"""How the numbers of a tensor are stored, and the one rule by which every format becomes bf16.

This is the definition that the native kernels are tested against; nothing on the serving path runs it.
"""

import dataclasses
import enum

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
F32 = NDArray[np.float32]
BF16 = NDArray[np.uint16]

_QUIET_NAN = np.uint16(0x7FC0)


class TensorFormat(enum.Enum):
    """A name, and how many bytes hold how many consecutive elements of a row.

    Q8_0   f16 d, 32 x int8 q                                         value d * q
    Q4_1   f16 d, f16 m, 16 bytes: element i in the low four bits of
           byte i, element i + 16 in the high four                    value d * q + m
    """

    F32 = ("F32", 1, 4)
    F16 = ("F16", 1, 2)
    BF16 = ("BF16", 1, 2)
    Q8_0 = ("Q8_0", 32, 34)
    Q4_1 = ("Q4_1", 32, 20)

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

    @property
    def num_bytes(self) -> int:
        return self.data.nbytes

    def rows(self, first: int, count: int) -> "Tensor":
        """Rows [first, first + count), which lie within the tensor: a view, under the same name."""
        row_bytes = self.format.row_bytes(self.num_columns)
        data = self.data[first * row_bytes : (first + count) * row_bytes]
        return Tensor(self.name, self.format, count, self.num_columns, data)

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
        values = _decode(tensor)
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


def _decode(tensor: Tensor) -> F32:
    match tensor.format:
        case TensorFormat.F32:
            return tensor.data.view("<f4")
        case TensorFormat.F16:
            return tensor.data.view("<f2").astype(np.float32)
        case TensorFormat.BF16:
            return (tensor.data.view("<u2").astype(np.uint32) << 16).view(np.float32)
        case TensorFormat.Q8_0:
            blocks = _blocks(tensor)
            return _scales(blocks, 0) * blocks[:, 2:].view(np.int8).astype(np.float32)
        case TensorFormat.Q4_1:
            blocks = _blocks(tensor)
            nibbles = np.concatenate((blocks[:, 4:] & 15, blocks[:, 4:] >> 4), axis=1).astype(np.float32)
            return _scales(blocks, 0) * nibbles + _scales(blocks, 2)


def _blocks(tensor: Tensor) -> Bytes:
    return tensor.data.reshape(-1, tensor.format.block_bytes)


def _scales(blocks: Bytes, offset: int) -> F32:
    """The f16 at a byte offset of every block, [num_blocks, 1]."""
    return np.ascontiguousarray(blocks[:, offset : offset + 2]).view("<f2").astype(np.float32)
