"""Which ops make digits of activations, and which read them: a program for --activation-dtype int8.

A linear layer reads its input both ways: as digits for weights that are stored as integers, as bf16 for
others.
"""

import dataclasses
from collections.abc import Iterable, Iterator

from octavo.models.ops import LINEAR_KINDS, OpKind, QuantizeAttrs
from octavo.models.program import Buffer, DType, Op, Program

_SUFFIX = "_digits"


def with_digits(program: Program) -> Program:
    """Linear layers that read the same rows share their digits."""
    ops = tuple(_with_quantize_ops(program.ops))
    sources = dict.fromkeys(op.inputs[0] for op in ops if op.kind is OpKind.QUANTIZE)
    digits = (_digits_of(program.buffer(source)) for source in sources)
    return dataclasses.replace(program, ops=ops, buffers=(*program.buffers, *digits))


def _with_quantize_ops(ops: Iterable[Op]) -> Iterator[Op]:
    quantized: set[str] = set()  # buffers that have not changed since
    for op in ops:
        if op.kind in LINEAR_KINDS:
            source, target = op.inputs[0], op.inputs[0] + _SUFFIX
            if source not in quantized:
                yield Op(op.layer, (source,), target, None, QuantizeAttrs())
                quantized.add(source)
            op = dataclasses.replace(op, inputs=(source, target))
        yield op
        quantized.discard(op.output or "")


def _digits_of(buffer: Buffer) -> Buffer:
    return dataclasses.replace(buffer, name=buffer.name + _SUFFIX, dtype=DType.DIGITS)
