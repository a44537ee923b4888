import dataclasses

from octavo.models.digits import with_digits
from octavo.models.lowering import lower
from octavo.models.ops import OpKind
from octavo.models.program import DType
from tests.backends.tiny import EXPERTS, SANDWICH, TINY


def test_digits_are_made_once_before_the_layers_that_read_them() -> None:
    program = with_digits(lower(dataclasses.replace(TINY, num_layers=1)))
    kinds = [op.kind for op in program.ops]
    quantized = [op.inputs[0] for op in program.ops if op.kind is OpKind.QUANTIZE]
    assert quantized == ["normed", "attended", "normed", "activated", "last_normed"]
    assert kinds[kinds.index(OpKind.ATTENTION) + 1 :][:2] == [OpKind.QUANTIZE, OpKind.LINEAR]
    for op in program.ops:
        if op.kind is OpKind.LINEAR:
            assert op.inputs == (op.inputs[0], op.inputs[0] + "_digits")


def test_a_router_and_what_comes_after_it_share_digits_until_rows_are_dispatched() -> None:
    quantized = [op.inputs[0] for op in with_digits(lower(EXPERTS)).ops if op.kind is OpKind.QUANTIZE]
    assert quantized == ["normed", "attended", "normed", "dispatched", "expert_activated", "last_normed"]


def test_buffers_of_digits_are_as_large_as_their_sources() -> None:
    for arch in (TINY, SANDWICH, EXPERTS):
        plain = lower(arch)
        program = with_digits(plain)
        assert program.buffers[: len(plain.buffers)] == plain.buffers
        for buffer in program.buffers[len(plain.buffers) :]:
            source = program.buffer(buffer.name.removesuffix("_digits"))
            assert dataclasses.replace(buffer, name=source.name, dtype=source.dtype) == source
            assert (source.dtype, buffer.dtype) == (DType.BF16, DType.DIGITS)
