"""A model's weights as the kernels read them: matrices in panels, vectors as fp32, one behind the other.

Weights stay compressed: panels hold the file's own bits in another order. Runs in the engine process, once,
at load; the packed bytes may be kept (weights/repacked.py) and come back as they were.
"""

import concurrent.futures
import ctypes
import itertools
import mmap
import pathlib
from collections.abc import Mapping

import numpy as np
import xxhash
from numpy.typing import NDArray

from octavo.backends.cpu.library import MAX_SEGMENTS, LinearWeight, WeightDesc, load_library
from octavo.core.errors import ModelFileError
from octavo.models.program import Program, Weight
from octavo.weights.formats import Bytes, Tensor, TensorFormat, expand_to_f32

_PACKING = 1  # changes with what this file does, not with the native library
_ALIGNMENT = 64
_COLUMNS_PER_PANEL = 16
_PANELS_PER_TASK = 256
# csrc/repack.h, SourceType: the numbers of GGUF tensor types.
_SOURCE_TYPE = {
    TensorFormat.F32: 0,
    TensorFormat.F16: 1,
    TensorFormat.Q4_0: 2,
    TensorFormat.Q4_1: 3,
    TensorFormat.Q5_0: 6,
    TensorFormat.Q5_1: 7,
    TensorFormat.Q8_0: 8,
    TensorFormat.Q4_K: 12,
    TensorFormat.Q5_K: 13,
    TensorFormat.Q6_K: 14,
    TensorFormat.BF16: 30,
}
_NOT_FINITE = 2  # octavo_repack


class PackedWeights:
    """The native descriptors of a program's weights, and the memory they point into.

    tensors: part name in the program -> Tensor. packed: the data of other weights with the same
    layout_identity, and then no tensor is read. Raises ModelFileError for a layout the kernels do not read,
    and for a weight that is NaN or infinite.
    """

    def __init__(
        self,
        program: Program,
        tensors: Mapping[str, Tensor],
        num_threads: int = 1,
        packed: Bytes | None = None,
    ) -> None:
        self._program = program
        sizes = [packed_bytes(weight, tensors) for weight in program.weights]
        self.num_bytes = sum(sizes)
        self.data = _new_memory(self.num_bytes) if packed is None else packed
        assert len(self.data) == self.num_bytes
        self.descs = weight_shapes(program, tensors)
        self.index = {weight.name: i for i, weight in enumerate(program.weights)}
        self._offsets = dict(zip(self.index, itertools.accumulate([0, *sizes]), strict=False))
        for weight, desc in zip(program.weights, self.descs, strict=True):
            self._set_addresses(weight, desc, tensors)
        if packed is None:
            self._pack(tensors, num_threads)

    def vector(self, name: str) -> NDArray[np.float32]:
        """A vector's values, as the kernels read them."""
        begin = self._offsets[name]
        return self.data[begin : begin + 4 * self._program.weight(name).num_rows].view(np.float32)

    def _set_addresses(self, weight: Weight, desc: WeightDesc, tensors: Mapping[str, Tensor]) -> None:
        address = self.data.ctypes.data + self._offsets[weight.name]
        if weight.is_vector:
            desc.vector = address
            return
        for i, (part, _) in enumerate(weight.parts):
            desc.segments[i].data = address
            address += _segment_bytes(tensors[part])

    def _pack(self, tensors: Mapping[str, Tensor], num_threads: int) -> None:
        with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
            tasks = []
            for weight, desc in zip(self._program.weights, self.descs, strict=True):
                if weight.is_vector:
                    self._pack_vector(weight, tensors)
                    continue
                for (part, num_rows), segment in zip(weight.parts, desc.segments, strict=False):
                    num_panels = -(-num_rows // _COLUMNS_PER_PANEL)
                    for first in range(0, num_panels, _PANELS_PER_TASK):
                        end = min(first + _PANELS_PER_TASK, num_panels)
                        tasks.append(pool.submit(_repack, tensors[part], segment.data, first, end))
            for task in tasks:
                task.result()

    def _pack_vector(self, weight: Weight, tensors: Mapping[str, Tensor]) -> None:
        target = self.vector(weight.name)
        target[:] = np.concatenate([_vector(tensors[part]) for part, _ in weight.parts])
        if weight.offset:
            target += np.float32(weight.offset)


def layout_identity(program: Program, tensors: Mapping[str, Tensor]) -> list[bytes]:
    """What packed bytes depend on besides the values of the weights: order and formats, and the code that
    packs, which is the native library's and this file's (_PACKING)."""
    library = pathlib.Path(load_library()._name).read_bytes()
    fields = [b"packing %d" % _PACKING, xxhash.xxh3_128_digest(library)]
    for weight in program.weights:
        formats = [tensors[part].format.label for part, _ in weight.parts]
        fields.append(f"{weight} {formats}".encode())
    return fields


def packed_bytes(weight: Weight, tensors: Mapping[str, Tensor]) -> int:
    """Bytes of one weight, padded to whole cache lines. Raises ModelFileError where it cannot be packed."""
    if weight.is_vector:
        return _round_up(4 * weight.num_rows)
    if len(weight.parts) > MAX_SEGMENTS:
        raise ModelFileError(
            f"Weight {weight.name} is stacked from {len(weight.parts)} tensors; at most {MAX_SEGMENTS}."
        )
    return sum(_segment_bytes(tensors[part]) for part, _ in weight.parts)


def weight_shapes(program: Program, tensors: Mapping[str, Tensor]) -> ctypes.Array[WeightDesc]:
    """The descriptors without data, from which the native library tells what it will hold.

    tensors may be empty: the formats do not matter to that.
    """
    descs = (WeightDesc * len(program.weights))()
    for weight, desc in zip(program.weights, descs, strict=True):
        if weight.is_vector:
            continue
        desc.num_segments = len(weight.parts)
        for i, (part, num_rows) in enumerate(weight.parts[:MAX_SEGMENTS]):
            format = _packed_format(tensors[part]) if part in tensors else 0
            desc.segments[i] = LinearWeight(None, format, num_rows, weight.num_columns)
    return descs


def _new_memory(num_bytes: int) -> Bytes:
    memory = mmap.mmap(-1, max(num_bytes, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8)[:num_bytes]


def _segment_bytes(tensor: Tensor) -> int:
    library = load_library()
    return _round_up(library.octavo_packed_bytes(_packed_format(tensor), tensor.num_rows, tensor.num_columns))


def _packed_format(tensor: Tensor) -> int:
    format: int = load_library().octavo_packed_format(_SOURCE_TYPE[tensor.format])
    return format


def _round_up(num_bytes: int) -> int:
    return -(-num_bytes // _ALIGNMENT) * _ALIGNMENT


def _repack(tensor: Tensor, address: int, first_panel: int, end_panel: int) -> None:
    data: NDArray[np.uint8] = tensor.data
    source = (_SOURCE_TYPE[tensor.format], data.ctypes.data)
    shape = (tensor.num_rows, tensor.num_columns)
    status = load_library().octavo_repack(*source, address, *shape, first_panel, end_panel)
    if status == _NOT_FINITE:
        raise _not_finite(tensor)
    assert status == 0, tensor.name


def _vector(tensor: Tensor) -> NDArray[np.float32]:
    values = expand_to_f32(tensor).reshape(-1)
    if not np.isfinite(values).all():
        raise _not_finite(tensor)
    return values


def _not_finite(tensor: Tensor) -> ModelFileError:
    return ModelFileError(
        f"Tensor {tensor.name} ({tensor.format.label}) holds NaN or an infinite number:"
        " the file is damaged or was converted wrongly."
    )
