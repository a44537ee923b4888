"""The lowered program: shapes fit, buffers are written before they are read, layers are of their kinds."""

import dataclasses

import pytest

from octavo.models.architecture import Architecture
from octavo.models.lowering import kv_group_size, lower
from octavo.models.ops import ExpertLinearAttrs, LinearAttrs, NormAttrs, OpKind
from octavo.models.program import DType, Program
from tests.backends.tiny import AFTER, EXPERTS, SANDWICH, SCALED, TINY

VARIANTS = [TINY, dataclasses.replace(TINY, is_embedding_tied=True), SANDWICH, AFTER, SCALED, EXPERTS]


@pytest.mark.parametrize("arch", VARIANTS)
def test_every_op_reads_what_an_earlier_one_wrote(arch: Architecture) -> None:
    program = lower(arch)
    written: set[str] = set()
    for op in program.ops:
        assert written.issuperset(op.inputs)
        if getattr(op.attrs, "has_residual", 0):
            assert op.output in written
        if op.output:
            written.add(op.output)
    assert Program.logits in written


@pytest.mark.parametrize("arch", VARIANTS)
def test_ops_fit_their_weights(arch: Architecture) -> None:
    program = lower(arch)
    used = {"rope_factors"} & {weight.name for weight in program.weights}
    for op in program.ops:
        used |= {name for name in (op.weight, op.bias) if name}
        match op.attrs:
            case LinearAttrs():
                weight = program.weight(op.weight)
                assert program.buffer(op.inputs[0]).width == weight.num_columns
                assert program.buffer(op.inputs[0]).dtype is DType.BF16
                assert program.buffer(op.output).width == weight.num_rows
                assert op.bias is None or program.weight(op.bias).num_rows == weight.num_rows
            case NormAttrs(_, width, num_groups, first_column):
                assert program.weight(op.weight).num_rows == width
                assert first_column + num_groups * width <= program.buffer(op.inputs[0]).width
            case ExpertLinearAttrs(num_experts):
                names = [weight.name for weight in program.weights]
                first = names.index(op.weight)
                stack = program.weights[first : first + num_experts]
                used |= {weight.name for weight in stack}
                shape = (program.buffer(op.output).width, program.buffer(op.inputs[0]).width)
                assert {(weight.num_rows, weight.num_columns) for weight in stack} == {shape}
                numbers = [int(weight.name.split(".")[3]) for weight in stack]
                assert numbers == list(range(num_experts))
    assert used == {weight.name for weight in program.weights}


def test_a_tied_head_is_the_embedding() -> None:
    tied = lower(dataclasses.replace(TINY, is_embedding_tied=True))
    assert tied.ops[-1].weight == tied.ops[0].weight == "embedding"
    assert "head" not in [weight.name for weight in tied.weights]


def test_layers_with_one_window_share_a_kv_group() -> None:
    arch = dataclasses.replace(SANDWICH, num_layers=6)  # windows 40, none, 300 by turns
    program = lower(arch)
    assert [(group.window, group.num_layers) for group in program.kv_groups] == [(40, 2), (None, 2), (300, 2)]
    places = [
        (op.attrs.group, op.attrs.layer, op.attrs.window) for op in program.ops if op.kind is OpKind.ATTENTION
    ]
    assert places == [(0, 0, 40), (1, 0, 0), (2, 0, 300), (0, 1, 40), (1, 1, 0), (2, 1, 300)]


def test_a_window_of_many_layers_has_several_groups_of_one_size() -> None:
    kinds = (*SANDWICH.layer_kinds[:1] * 2, *TINY.layer_kinds)
    program = lower(dataclasses.replace(SANDWICH, num_layers=9, layer_kinds=kinds))
    assert [(group.window, group.num_layers) for group in program.kv_groups] == [(40, 3), (None, 3), (40, 3)]
    places = [(op.attrs.group, op.attrs.layer) for op in program.ops if op.kind is OpKind.KV_WRITE]
    assert places == [(0, 0), (0, 1), (1, 0), (0, 2), (2, 0), (1, 1), (2, 1), (2, 2), (1, 2)]


@pytest.mark.parametrize(
    ("num_layers", "size"),
    [([30], 30), ([15, 3], 3), ([22, 4], 2), ([40, 8], 8), ([3, 2, 2], 1), ([40, 1], 4), ([1], 1)],
)
def test_kv_groups_are_as_large_as_leaves_little_room_unused(num_layers: list[int], size: int) -> None:
    assert kv_group_size(num_layers) == size


def test_layers_with_one_rope_share_a_table_and_layers_without_have_none() -> None:
    program = lower(dataclasses.replace(SANDWICH, num_layers=6))
    tables = [(op.attrs.table, op.attrs.rotary_dim) for op in program.ops if op.kind is OpKind.ROPE]
    assert tables == [(0, 16), (1, 8), (-1, 0)] * 2
    assert [len(table.frequencies) for table in program.rope_tables] == [8, 4]
