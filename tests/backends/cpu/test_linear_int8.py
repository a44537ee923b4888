"""Linear layers of int8 activations: every format, instruction set and number of rows against NumPy."""

import ctypes
import functools

import numpy as np
import pytest
from numpy.typing import NDArray

from octavo.backends.reference.quantize import int8_linear, quantized_groups
from octavo.weights.formats import Tensor, TensorFormat, expand_to_f32, integers_of
from tests.backends.cpu.test_linear import (
    F32,
    U8,
    U16,
    Layer,
    aligned,
    as_bytes,
    assert_same_bits,
    isa,
    kind_of,
    library,
    random_bf16,
    run,
)
from tests.weights.blocks import model_blocks, random_blocks

__all__ = ["isa"]  # a fixture

FORMATS = {format.label.lower(): format for format in TensorFormat if format.is_quantized}
# As csrc/kernels.h declares it; of every eight k the digits stand as 0 2 4 6 1 3 5 7.
DIGIT_GROUP = np.dtype([("digits", "i1", 32), ("unit", "f4"), ("unit_sum", "f4"), ("sums", "i4", 2)])
ORDER = np.array([8 * eight + k for eight in range(4) for k in (0, 2, 4, 6, 1, 3, 5, 7)])
ROWS = (*range(1, 41), 49, 60, 97, 131)  # small blocks, and more than wait for their sums at a time


def digits_of(isa: str, x: U16) -> NDArray[np.void]:
    """[rows padded to 16, groups] of DIGIT_GROUP; rows beyond the last are of NaN."""
    num_rows, depth = x.shape
    padded = np.full((-(-num_rows // 16) * 16, depth), 0x7FC0, np.uint16)
    padded[:num_rows] = x
    groups = aligned(padded.size // 32 * DIGIT_GROUP.itemsize).view(DIGIT_GROUP)
    addresses = (ctypes.c_void_p(array.ctypes.data) for array in (padded, groups))
    assert library().octavo_test_quantize(isa.encode(), *addresses, len(groups)) == 0
    return groups.reshape(len(padded), depth // 32)


def layer_of(format: TensorFormat, blocks: U8, num_columns: int) -> tuple[Layer, Tensor]:
    depth = len(blocks) // num_columns * format.block_size
    tensor = Tensor("w", format, num_columns, depth, blocks.reshape(-1))
    unused = np.zeros((num_columns, depth), np.float32)
    return Layer(kind_of(format), as_bytes(blocks), unused), tensor


Case = tuple[Layer, U16, F32]


@functools.cache
def case(format: TensorFormat, num_columns: int, depth: int) -> Case:
    """A layer, rows of x, and the sums expected of them."""
    rng = np.random.default_rng(num_columns + depth)
    blocks = model_blocks(format, num_columns * depth // format.block_size, int(rng.integers(99)))
    layer, tensor = layer_of(format, blocks, num_columns)
    x = random_bf16(rng, (max(ROWS), depth))
    x[3, :32] = 0  # a group without a unit
    return layer, x, int8_linear(quantized_groups(x), integers_of(tensor))


@pytest.mark.parametrize("values", ["plain", "tiny", "infinite", "nan"])
def test_digits_equal_the_reference(isa: str, values: str) -> None:
    rng = np.random.default_rng(5)
    x = (rng.normal(size=(9, 96)) * np.exp(rng.uniform(-80, 80, (9, 1)))).astype(np.float32)
    x[2, :32] = {"plain": 0.0, "tiny": 1e-38, "infinite": -np.inf, "nan": np.nan}[values]
    bits = (x.view(np.uint32) >> 16).astype(np.uint16)
    ours, wanted = digits_of(isa, bits)[:9], quantized_groups(bits)
    np.testing.assert_array_equal(ours["digits"], wanted[..., ORDER])
    np.testing.assert_array_equal(ours["unit"], wanted[..., 32])
    halves = wanted[..., :32].reshape(9, 3, 2, 16).sum(axis=-1)
    np.testing.assert_array_equal(ours["sums"], halves)
    with np.errstate(invalid="ignore"):
        assert_same_bits(ours["unit_sum"], wanted[..., 32] * halves.sum(axis=-1).astype(np.float32))


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("num_columns", [1, 33, 64])
def test_every_number_of_rows_equals_the_reference(isa: str, format: TensorFormat, num_columns: int) -> None:
    for depth in (format.block_size, 768):
        layer, x, wanted = case(format, num_columns, depth)
        for rows in ROWS:
            assert_same_bits(run(isa, layer, x[:rows], digits=digits_of(isa, x[:rows])), wanted[:rows])


@pytest.mark.parametrize("format", [TensorFormat.Q4_1, TensorFormat.Q6_K, TensorFormat.Q8_0], ids=str)
@pytest.mark.parametrize("rows", [64, 97, 128, 129, 145, 260])
def test_many_rows_and_groups_equal_the_reference(isa: str, format: TensorFormat, rows: int) -> None:
    """More of both than any kernel keeps at a time, and remainders of each."""
    depth = 35 * 32 if format.block_size == 32 else 5 * 256
    layer, tensor = layer_of(format, model_blocks(format, 17 * depth // format.block_size, 2), 17)
    x = random_bf16(np.random.default_rng(rows), (rows, depth))
    wanted = int8_linear(quantized_groups(x), integers_of(tensor))
    assert_same_bits(run(isa, layer, x, digits=digits_of(isa, x)), wanted)


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_the_largest_sums_of_integers_are_exact(isa: str, format: TensorFormat) -> None:
    """Digits of activations as large as they get, by blocks of which a third has all bits alike."""
    rng = np.random.default_rng(3)
    layer, tensor = layer_of(format, random_blocks(format, 32 * 256 // format.block_size), 32)
    signs = np.stack([np.ones(256), -np.ones(256), rng.choice([-1.0, 1.0], 256)])
    x = (signs.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    wanted = int8_linear(quantized_groups(x), integers_of(tensor))
    assert_same_bits(run(isa, layer, x, digits=digits_of(isa, x)), wanted)


def test_bias_scale_and_residual_come_after_the_sums(isa: str) -> None:
    layer, x, wanted = case(TensorFormat.Q4_K, 33, 768)
    rng = np.random.default_rng(9)
    bias = rng.normal(size=33).astype(np.float32)
    residual = rng.normal(size=(7, 33)).astype(np.float32)
    ours = run(isa, layer, x[:7], residual, bias=bias, scale=0.3, digits=digits_of(isa, x[:7]))
    assert_same_bits(ours, residual + (wanted[:7] + bias) * np.float32(0.3))


def test_a_row_that_is_not_finite_stays_so_and_alone(isa: str) -> None:
    layer, x, wanted = case(TensorFormat.Q6_K, 33, 256)
    x = x[:5].copy()
    x[2, 7] = 0x7F80
    ours = run(isa, layer, x, digits=digits_of(isa, x))
    assert not np.isfinite(ours[2]).any()
    assert_same_bits(np.delete(ours, 2, axis=0), np.delete(wanted[:5], 2, axis=0))


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_digits_cost_little_accuracy(format: TensorFormat) -> None:
    """Against the products of the expanded weights: an error of a hundredth or so of the results."""
    rng = np.random.default_rng(11)
    blocks = model_blocks(format, 64 * 768 // format.block_size, 3)
    _, tensor = layer_of(format, blocks, 64)
    x = random_bf16(rng, (20, 768))
    exact = (x.astype(np.uint32) << 16).view(np.float32).astype(np.float64) @ expand_to_f32(tensor).T
    error = int8_linear(quantized_groups(x), integers_of(tensor)) - exact
    assert 0 < np.sqrt((error**2).mean() / (exact**2).mean()) < 0.01
