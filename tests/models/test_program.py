"""The lowered program: shapes fit, buffers are written before they are read, blocks have the stated size."""

import dataclasses

import pytest

from octavo.models.ops import LinearAttrs, OpKind
from octavo.models.program import DType, Program, lower
from tests.backends.tiny import TINY


@pytest.mark.parametrize("is_embedding_tied", [True, False])
def test_every_op_reads_what_an_earlier_one_wrote(is_embedding_tied: bool) -> None:
    program = lower(dataclasses.replace(TINY, is_embedding_tied=is_embedding_tied))
    written: set[str] = set()
    for op in program.ops:
        assert written.issuperset(op.inputs)
        if op.output:
            written.add(op.output)
    assert Program.logits in written


def test_linear_ops_fit_their_weights() -> None:
    program = lower(TINY)
    for op in program.ops:
        if op.kind is OpKind.LINEAR:
            weight = program.weight(op.weight)
            assert program.buffer(op.inputs[0]).width == weight.num_columns
            assert program.buffer(op.inputs[0]).dtype is DType.BF16
            assert program.buffer(op.output).width == weight.num_rows
            assert isinstance(op.attrs, LinearAttrs)


def test_a_tied_head_is_the_embedding() -> None:
    tied = lower(dataclasses.replace(TINY, is_embedding_tied=True))
    assert tied.ops[-1].weight == tied.ops[0].weight == "embedding"
    assert "head" not in [weight.name for weight in tied.weights]


def test_the_parameters_of_the_architecture_are_those_of_the_weights() -> None:
    for is_embedding_tied in (True, False):
        arch = dataclasses.replace(TINY, is_embedding_tied=is_embedding_tied)
        counted = sum(weight.num_rows * weight.num_columns for weight in lower(arch).weights)
        assert counted == arch.num_parameters


def test_blocks_are_an_odd_number_of_cache_lines_apart() -> None:
    group = lower(TINY).kv_groups[0]
    content = 2 * 16 * 16 * 2 * 2 * 2  # K and V, tokens, dims, bytes, layers, heads
    assert group.block_bytes >= content
    assert group.block_bytes - content < 128
    assert group.block_bytes // 64 % 2 == 1
