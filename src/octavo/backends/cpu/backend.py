"""The CPU back end: hands a program to the native executor and then, per step, the step's arrays in one call.

Runs in the engine process. The native call releases the GIL; nothing is allocated natively after
construction: what a step needs at most is planned (memory_plan.py) and taken then.
"""

import ctypes
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octavo.backends.base import StepLimits
from octavo.backends.cpu import library as native
from octavo.backends.cpu.executor_desc import ExecutorSize, describe
from octavo.backends.cpu.packed_weights import PackedWeights
from octavo.backends.cpu.step_arrays import StepResults, fill_step
from octavo.core.errors import ModelFileError, StartError
from octavo.core.kv_dtype import KVDType
from octavo.core.step import Masks, StepInput, StepOutput, Ticket
from octavo.models.ops import OpKind
from octavo.models.program import DType, Program, RopeTable
from octavo.weights.formats import Tensor

FASTER_WITH_INT8 = ("avx2", "avx512")  # instruction sets, with int8 activations: docs/kernels.md

_ERROR_BYTES = 512
_HEAD_DIM_MULTIPLE = 16
_MAX_INT8_HEAD_DIM = 512


def default_isa() -> str:
    """The fastest instruction set this processor can run."""
    name: bytes = native.load_library().octavo_default_isa()
    return name.decode()


class CpuBackend:
    """tensors: part name in the program -> Tensor; they are not read after construction.

    weights: the tensors, when they have been packed already. isa None takes the fastest. Raises StartError or
    ModelFileError when the model or the machine does not fit.
    """

    def __init__(
        self,
        program: Program,
        tensors: Mapping[str, Tensor],
        limits: StepLimits,
        num_blocks: int,
        num_checkpoint_blocks: int = 0,
        *,
        num_threads: int = 1,
        isa: str | None = None,
        weights: PackedWeights | None = None,
    ) -> None:
        _check_supported(program)
        self._library = native.load_library()
        self._isa = (isa or default_isa()).encode()
        if not self._library.octavo_has_isa(self._isa):
            raise native.missing_isa(isa)
        self._program = program
        self._vocab_size = program.architecture.vocab_size
        self._hidden_size = program.architecture.hidden_size
        self._weights = weights or PackedWeights(program, tensors, num_threads)
        self._buffer_index = {buffer.name: i for i, buffer in enumerate(program.buffers)}
        self._frequencies = [self._divided_frequencies(table) for table in program.rope_tables]
        size = ExecutorSize(limits, num_blocks, num_checkpoint_blocks, num_threads)
        self._desc = describe(program, self._weights.descs, self._frequencies, size)
        self._error = ctypes.create_string_buffer(_ERROR_BYTES)
        self._executor = self._library.octavo_executor_create(
            self._desc, self._isa, self._error, _ERROR_BYTES
        )
        if not self._executor:
            raise StartError(f"The native executor cannot start: {self._error.value.decode()}.")
        self._step = native.StepDesc()
        self._pending: tuple[int, StepResults, float] | None = None  # step id, results, time of submit

    def submit(self, step: StepInput) -> Ticket:
        started = time.perf_counter()
        kept_alive = fill_step(self._step, step, self._vocab_size)
        results = StepResults(step, self._hidden_size)
        status = self._library.octavo_executor_forward(
            self._executor, self._step, results.desc, self._error, _ERROR_BYTES
        )
        del kept_alive
        if status:
            raise ValueError(f"Step {step.step_id} is not executable: {self._error.value.decode()}.")
        self._pending = (step.step_id, results, started)
        return Ticket(step.step_id)

    def collect(self, ticket: Ticket, masks: Masks | None = None) -> StepOutput:
        assert self._pending is not None and self._pending[0] == ticket.step_id
        step_id, results, started = self._pending
        self._pending = None
        address = None if masks is None else _mask_rows(masks, self._vocab_size).ctypes.data
        self._library.octavo_executor_sample(self._executor, results.desc, address)
        return results.output(step_id, time.perf_counter() - started)

    def touch_ahead(self) -> bool:
        """Take some megabytes of memory for KV blocks that have not been used yet, so that no step waits for
        the kernel's zeroed pages. False: as much is taken as has been used, and 64 MiB at least."""
        return bool(self._library.octavo_executor_touch_ahead(self._executor))

    def close(self) -> None:
        """Ends the team and frees the KV cache; the back end cannot be used afterwards."""
        if self._executor:
            self._library.octavo_executor_destroy(self._executor)
            self._executor = None

    def buffer(self, name: str, num_rows: int) -> NDArray[Any]:
        """A copy of a buffer's first rows after the last step: float32, or uint16 with bf16 bits.

        Not of digits, of which the kernels have an order of their own.
        """
        buffer = self._program.buffer(name)
        assert buffer.dtype is not DType.DIGITS
        stride = native.Long()
        index = self._buffer_index[name]
        address = self._library.octavo_executor_buffer(self._executor, index, ctypes.byref(stride))
        c_type: Any = ctypes.c_float if buffer.dtype is DType.F32 else ctypes.c_uint16
        flat = np.ctypeslib.as_array((c_type * (num_rows * stride.value)).from_address(address))
        return flat.reshape(num_rows, stride.value)[:, : buffer.width].copy()

    def _divided_frequencies(self, table: RopeTable) -> NDArray[np.float64]:
        frequencies = np.array(table.frequencies)
        if table.factors is None:
            return frequencies
        return frequencies / self._weights.vector(table.factors).astype(np.float64)


def _mask_rows(masks: Masks, vocab_size: int) -> Masks:
    assert masks.dtype == np.uint32 and masks.shape[1] == -(-vocab_size // 32) and masks.flags.c_contiguous
    return masks


def _check_supported(program: Program) -> None:
    head_dim = program.architecture.head_dim
    for op in program.ops:
        if op.kind is OpKind.ATTENTION and head_dim % _HEAD_DIM_MULTIPLE:
            raise ModelFileError(
                f"The model's head size is {head_dim}; the CPU back end needs a multiple of"
                f" {_HEAD_DIM_MULTIPLE}."
            )
    if head_dim > _MAX_INT8_HEAD_DIM and any(group.dtype is KVDType.INT8 for group in program.kv_groups):
        raise StartError(
            f"The model's head size is {head_dim}; --kv-dtype int8 allows {_MAX_INT8_HEAD_DIM} at most,"
            " as its sums of integers have 32 bits."
        )
