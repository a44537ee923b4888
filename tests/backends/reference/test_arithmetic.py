"""The specification's own properties: rounding, order, accuracy."""

import numpy as np
import pytest

from octavo.backends.reference.arithmetic import (
    exp,
    f32,
    from_bf16,
    gelu_tanh,
    linear,
    log,
    rms_norm,
    silu,
    softcap,
    to_bf16,
    tree,
)

RNG = np.random.default_rng(0)


def test_f32_flushes_denormals_and_keeps_their_sign() -> None:
    small = np.array([2.0**-127, -(2.0**-130), 2.0**-126, 1.0])
    flushed = f32(small)
    np.testing.assert_array_equal(flushed, np.array([0, 0, 2.0**-126, 1.0], np.float32))
    assert np.signbit(flushed[1])


def test_f32_decides_underflow_after_rounding() -> None:
    """What rounds up to the smallest normal number is kept; what is below by one bit of a wider exponent is
    not."""
    assert f32(np.array(2.0**-126 - 2.0**-152)) == np.float32(2.0**-126)
    assert f32(np.array(2.0**-126 - 2.0**-150)) == 0


def test_to_bf16_rounds_to_nearest_even() -> None:
    values = np.array([1.0, 1.00390625, 1.01171875, -1.00390625, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(to_bf16(values), [0x3F80, 0x3F80, 0x3F82, 0xBF80, 0x7F80, 0x7FC0])


def test_from_bf16_reads_denormals_as_zero() -> None:
    np.testing.assert_array_equal(from_bf16(np.array([0x0001, 0x3F80], np.uint16)), [0, 1])


@pytest.mark.parametrize("depth", [1, 16, 31, 32, 33, 80, 576])
def test_linear_is_accurate_and_padding_is_neutral(depth: int) -> None:
    x, w = (to_bf16(RNG.normal(size=(n, depth)).astype(np.float32)) for n in (3, 5))
    y = linear(x, w)
    exact = from_bf16(x).astype(np.float64) @ from_bf16(w).astype(np.float64).T
    np.testing.assert_allclose(y, exact, atol=1e-4)
    padded = linear(np.pad(x, ((0, 0), (0, 40))), np.pad(w, ((0, 0), (0, 40))))
    np.testing.assert_array_equal(padded, y)


def test_linear_follows_the_even_and_odd_chains() -> None:
    """1 + 2^-24 - 1 in one chain loses the small term; in two chains it survives."""
    tiny = 2.0**-24
    w = to_bf16(np.ones((1, 4), np.float32))
    one_chain = to_bf16(np.array([[1, 0, tiny, 0]], np.float32))
    np.testing.assert_array_equal(linear(one_chain, w), [[1]])
    cancelled = to_bf16(np.array([[1, tiny, -1, 0]], np.float32))
    np.testing.assert_array_equal(linear(cancelled, w), [[np.float32(tiny)]])


def test_tree_sums_by_halves() -> None:
    lanes = np.zeros(16, np.float32)
    lanes[0], lanes[8], lanes[1] = 2.0**24, 1.0, -(2.0**24)
    assert tree(lanes) == 0.0  # 2^24 + 1 rounds to 2^24 before lane 1 is added


def test_exp_and_log_are_accurate() -> None:
    x = np.linspace(-86, 88, 20001, dtype=np.float32)
    np.testing.assert_allclose(exp(x), np.exp(x.astype(np.float64)), rtol=1.5e-7)
    np.testing.assert_array_equal(exp(np.array([-86.5, -np.inf], np.float32)), [0, 0])
    y = np.exp(np.linspace(-80, 20, 20001)).astype(np.float32)
    np.testing.assert_allclose(log(y), np.log(y.astype(np.float64)), rtol=1e-6, atol=1e-7)


def test_norm_and_activation_are_accurate() -> None:
    x = RNG.normal(size=(4, 80)).astype(np.float32)
    weight = RNG.normal(size=80).astype(np.float32)
    exact = x / np.sqrt((x.astype(np.float64) ** 2).mean(axis=1, keepdims=True) + 1e-5) * weight
    np.testing.assert_allclose(rms_norm(x, weight, 1e-5), exact, rtol=1e-5, atol=1e-6)


def test_activations_are_those_they_are_named_after() -> None:
    x = RNG.normal(size=(4, 80)).astype(np.float32) * 8
    tanh = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x.astype(np.float64) ** 3))
    np.testing.assert_allclose(silu(x), x / (1 + np.exp(-x)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gelu_tanh(x), 0.5 * x * (1 + tanh), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(softcap(x, 5.0), 5 * np.tanh(x / 5), rtol=1e-5, atol=1e-6)
    assert np.isnan(softcap(np.array([np.nan], np.float32), 5.0))
