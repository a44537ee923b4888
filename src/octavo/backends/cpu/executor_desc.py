"""A program as the native executor is told it: buffers, ops and tables by number, weights by address.

Arithmetic on the program alone; what it points to must outlive the executor.
"""

import ctypes
import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from octavo.backends.base import StepLimits
from octavo.backends.cpu import library as native
from octavo.core.kv_dtype import KVDType
from octavo.models.ops import LINEAR_KINDS
from octavo.models.program import DType, Op, Program, Rows

_KV_FORMATS = (KVDType.BF16, KVDType.INT8)  # in the order of kernels.h
_BUFFER_FORMATS = (DType.F32, DType.BF16, DType.DIGITS)  # in the order of capi.h


@dataclasses.dataclass(frozen=True, slots=True)
class ExecutorSize:
    """What an executor is built for; tier blocks are those of the checkpoint store."""

    limits: StepLimits
    num_blocks: int = 0
    num_tier_blocks: int = 0
    num_threads: int = 1


def describe(
    program: Program,
    weights: ctypes.Array[native.WeightDesc],
    frequencies: Sequence[NDArray[np.float64] | None],
    size: ExecutorSize,
) -> native.ExecutorDesc:
    """weights: in the program's order. frequencies: of each rotary table; None where only sizes matter."""
    buffers = (native.BufferDesc * len(program.buffers))(
        *(
            native.BufferDesc(
                b.rows is Rows.OUTPUTS, _BUFFER_FORMATS.index(b.dtype), b.width, b.experts_per_token
            )
            for b in program.buffers
        )
    )
    groups = (native.KVGroupDesc * len(program.kv_groups))(
        *(
            native.KVGroupDesc(group.num_layers, group.block_bytes, _KV_FORMATS.index(group.dtype))
            for group in program.kv_groups
        )
    )
    tables = (native.RopeTableDesc * len(program.rope_tables))(
        *(
            native.RopeTableDesc(
                None if values is None else values.ctypes.data, table.attention_factor, len(table.frequencies)
            )
            for table, values in zip(program.rope_tables, frequencies, strict=True)
        )
    )
    buffer_index = {buffer.name: i for i, buffer in enumerate(program.buffers)}
    weight_index = {weight.name: i for i, weight in enumerate(program.weights)}
    ops = (native.OpDesc * len(program.ops))(
        *(_op_desc(op, buffer_index, weight_index) for op in program.ops)
    )
    return native.ExecutorDesc(
        ops=ops,
        buffers=buffers,
        weights=weights,
        kv_groups=groups,
        rope_tables=tables,
        num_ops=len(ops),
        num_buffers=len(buffers),
        num_kv_groups=len(groups),
        num_rope_tables=len(tables),
        vocab_size=program.architecture.vocab_size,
        logits_buffer=buffer_index[Program.logits],
        max_seqs=size.limits.max_num_seqs,
        max_tokens=size.limits.max_num_batched_tokens,
        max_model_len=size.limits.max_model_len,
        num_blocks=size.num_blocks,
        num_tier_blocks=size.num_tier_blocks,
        num_threads=size.num_threads,
    )


def _op_desc(op: Op, buffer_index: dict[str, int], weight_index: dict[str, int]) -> native.OpDesc:
    first, second = ([buffer_index[name] for name in op.inputs] + [-1, -1])[:2]
    desc = native.OpDesc(
        kind=op.kind,
        input=first,
        routes=-1 if op.kind in LINEAR_KINDS else second,
        digits=second if op.kind in LINEAR_KINDS else -1,
        output=buffer_index[op.output] if op.output else -1,
        weight=weight_index[op.weight] if op.weight else -1,
        bias=weight_index[op.bias] if op.bias else -1,
    )
    fields = [getattr(op.attrs, field.name) for field in dataclasses.fields(op.attrs)]
    packed = b"".join(
        (np.float64 if isinstance(value, float) else np.int64)(value).tobytes() for value in fields
    )
    ctypes.memmove(desc.attrs, packed, len(packed))
    return desc
