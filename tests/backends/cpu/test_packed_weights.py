"""Packing loses nothing, does not depend on threads, and refuses what the kernels cannot read."""

import ctypes
import dataclasses

import numpy as np
import pytest

from octavo.backends.cpu.packed_weights import PackedWeights, packed_bytes
from octavo.core.errors import ModelFileError
from octavo.models.program import Weight
from octavo.weights.formats import Tensor
from tests.backends.tiny import tiny_model


def content(weights: PackedWeights) -> bytes:
    first = weights.descs[0].segments[0].data
    return ctypes.string_at(first, weights.num_bytes)


def test_one_thread_and_three_pack_the_same_bytes() -> None:
    program, tensors = tiny_model()
    assert content(PackedWeights(program, tensors, 1)) == content(PackedWeights(program, tensors, 3))


def test_segments_follow_the_parts() -> None:
    program, tensors = tiny_model()
    packed = PackedWeights(program, tensors, 2)
    qkv = packed.descs[packed.index["layers.1.qkv"]]
    assert [qkv.segments[i].num_columns for i in range(qkv.num_segments)] == [96, 32, 32]
    assert all(qkv.segments[i].data % 64 == 0 for i in range(3))


def test_vectors_are_fp32() -> None:
    program, tensors = tiny_model()
    packed = PackedWeights(program, tensors, 1)
    norm = packed.descs[packed.index["final_norm"]]
    values = np.ctypeslib.as_array((ctypes.c_float * 96).from_address(norm.vector))
    np.testing.assert_array_equal(values, tensors["final_norm"].data.view(np.float32))


def test_too_many_stacked_tensors_are_refused() -> None:
    weight = Weight("wide", tuple((f"part{i}", 16) for i in range(5)), 32)
    tensors = {f"part{i}": Tensor.of("t", np.zeros((16, 32), np.float32)) for i in range(5)}
    with pytest.raises(ModelFileError, match="stacked from 5 tensors; at most 4"):
        packed_bytes(weight, tensors)


@pytest.mark.parametrize("part", ["layers.1.k", "final_norm"])
def test_a_weight_that_is_not_finite_is_refused_by_name(part: str) -> None:
    program, tensors = tiny_model()
    data = tensors[part].data.copy()
    data[-64:] = 0xFF
    changed = {**tensors, part: dataclasses.replace(tensors[part], data=data)}
    with pytest.raises(ModelFileError, match=rf"{part} \(.*\) holds NaN or an infinite number"):
        PackedWeights(program, changed, 2)
