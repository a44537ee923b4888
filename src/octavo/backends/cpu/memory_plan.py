"""What the CPU back end will hold, by arithmetic: known, and printed, before anything is allocated.

The native library does its part of it by the same code that it allocates by.
"""

import ctypes
from collections.abc import Mapping

from octavo.backends.base import MemoryPlan, StepLimits
from octavo.backends.cpu import library as native
from octavo.backends.cpu.executor_desc import ExecutorSize, describe
from octavo.backends.cpu.packed_weights import packed_bytes, weight_shapes
from octavo.models.program import Program
from octavo.weights.formats import Tensor


def plan_memory(
    program: Program,
    tensors: Mapping[str, Tensor],
    limits: StepLimits,
    num_threads: int = 1,
    isa: str | None = None,
) -> MemoryPlan:
    """What such a CpuBackend will hold, without any KV blocks. isa None is the fastest.

    Raises ModelFileError for weights the kernels do not read, StartError for an instruction set that is not
    here.
    """
    parts = workspace_parts(program, tensors, limits, num_threads, isa)
    sampling_bytes = parts.pop("sampling")
    return MemoryPlan(
        weight_bytes=sum(packed_bytes(weight, tensors) for weight in program.weights),
        workspace_bytes=sum(parts.values()),
        sampling_bytes=sampling_bytes,
        block_bytes=max(group.block_bytes for group in program.kv_groups),
        num_blocks=0,
        num_checkpoint_blocks=0,
    )


def workspace_parts(
    program: Program,
    tensors: Mapping[str, Tensor],
    limits: StepLimits,
    num_threads: int = 1,
    isa: str | None = None,
) -> dict[str, int]:
    """Bytes of what an executor holds besides weights and blocks, by what it is for.

    Of `sampling`, the lists of penalties, masks and biases, a page is taken when a request first needs it;
    all else is taken at load. tensors may be empty.
    """
    sizes = native.WorkspaceBytes()
    frequencies = [None] * len(program.rope_tables)
    size = ExecutorSize(limits, num_threads=num_threads)
    desc = describe(program, weight_shapes(program, tensors), frequencies, size)
    if native.load_library().octavo_executor_bytes(desc, isa.encode() if isa else None, ctypes.byref(sizes)):
        raise native.missing_isa(isa)
    return {name: getattr(sizes, name) for name, _ in native.WorkspaceBytes._fields_}
