"""What the native executor is told of a program: names became numbers, attributes their bits."""

import dataclasses
import struct

from octavo.backends.base import StepLimits
from octavo.backends.cpu.executor_desc import ExecutorSize, describe
from octavo.backends.cpu.packed_weights import weight_shapes
from octavo.models.ops import OpKind
from tests.backends.tiny import EXPERTS, SANDWICH, model_of

SIZE = ExecutorSize(StepLimits(3, 10, 700), num_blocks=5, num_tier_blocks=2, num_threads=4)


def described(arch):
    program, tensors = model_of(arch)
    desc = describe(program, weight_shapes(program, tensors), [None] * len(program.rope_tables), SIZE)
    return program, desc


def test_ops_name_buffers_and_weights_by_number() -> None:
    for arch in (SANDWICH, EXPERTS):
        program, desc = described(arch)
        buffers = [buffer.name for buffer in program.buffers]
        weights = [weight.name for weight in program.weights]
        names = lambda table, index: None if index < 0 else table[index]  # noqa: E731
        for i, op in enumerate(program.ops):
            told = desc.ops[i]
            inputs = [names(buffers, index) for index in (told.input, told.routes)]
            assert tuple(name for name in inputs if name) == op.inputs and told.kind == op.kind
            assert (names(buffers, told.output), names(weights, told.weight)) == (op.output, op.weight)
            assert names(weights, told.bias) == op.bias


def test_attributes_are_eight_bytes_each() -> None:
    program, desc = described(SANDWICH)
    index, op = next((i, op) for i, op in enumerate(program.ops) if op.kind is OpKind.ATTENTION)
    values = [getattr(op.attrs, field.name) for field in dataclasses.fields(op.attrs)]
    layout = "<" + "".join("d" if isinstance(value, float) else "q" for value in values)
    assert list(struct.unpack_from(layout, bytes(desc.ops[index].attrs))) == values


def test_limits_and_tables_are_told() -> None:
    program, desc = described(SANDWICH)
    assert (desc.max_seqs, desc.max_tokens, desc.max_model_len) == (3, 10, 700)
    assert (desc.num_blocks, desc.num_tier_blocks, desc.num_threads) == (5, 2, 4)
    assert program.buffers[desc.logits_buffer].name == program.logits
    pairs = [desc.rope_tables[i].num_pairs for i in range(desc.num_rope_tables)]
    assert pairs == [len(table.frequencies) for table in program.rope_tables]
