"""Numbers as integers, the digits, times a unit of their own: what an int8 KV cache holds and computes with,
and activations of int8.

A row of the cache is its digits, as float32, and behind them its unit. A row of activations is a list of such
rows, one for every 32 columns.
"""

import numpy as np

from octavo.backends.reference.arithmetic import BF16, CHUNK, F32, f32, f64, from_bf16
from octavo.weights.formats import Integers

INT8_DIGITS = 127  # the largest digit of a key, a value or an activation
QUERY_DIGITS = 127 * 256  # of a query or its weights


def quantize(rows: F32, max_digit: int) -> tuple[F32, F32]:
    """Digits [rows, n], whole numbers rounded to nearest even, and units [rows].

    A row that is not finite has digits 0 and an infinite unit: nothing finite comes of it.
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        largest = np.abs(rows).max(axis=-1)
        is_finite = np.isfinite(rows).all(axis=-1)
        units = np.where(is_finite, f32(f64(largest) / max_digit), np.float32(np.inf))
        per_unit = np.where(is_finite & (units > 0), f32(max_digit / f64(largest)), np.float32(0))
        digits = np.rint(f32(f64(rows) * f64(per_unit)[..., None]))
    return np.where(per_unit[..., None] > 0, digits, np.float32(0)), units


def quantized_row(rows: F32) -> F32:
    """[..., n + 1] digits and their unit, of numbers [..., n]."""
    digits, units = quantize(rows, INT8_DIGITS)
    return np.concatenate([digits, units[..., None]], axis=-1)


def digit_products(a: F32, b: F32) -> F32:
    """Sums of products [len(a), len(b)]: exact, as they stay below 2^31; then rounded to float32."""
    return f32(f64(a) @ f64(b).T)


def quantized_groups(x: BF16) -> F32:
    """[rows, groups, 32 digits and their unit] of activations; a shorter last group is padded by zeros."""
    padded = from_bf16(np.pad(x, ((0, 0), (0, -x.shape[1] % CHUNK))))
    return quantized_row(padded.reshape(len(x), -1, CHUNK))


def int8_linear(x: F32, w: Integers) -> F32:
    """y[m, n] of quantized_groups x. Per group, ascending: acc + (sum of products) * (scale * unit);
    then, where there are minima, acc + minimum * (unit * sum of x's digits).

    Sums of integers, of Q6_K with each half of a group times its step, stay below 2^24: exact in fp32.
    """
    digits, units = f64(x[..., :CHUNK]), x[..., CHUNK]
    weights = f64(w.digits).reshape(len(w.digits), -1, CHUNK)
    if w.steps is not None:
        weights = weights * f64(w.steps).repeat(CHUNK // 2, axis=1).reshape(weights.shape)
    total = np.zeros((len(x), len(w.digits)), np.float32)
    with np.errstate(invalid="ignore"):
        for g in range(digits.shape[1]):
            unit = f64(units[:, g, None])
            products = digits[:, g] @ weights[:, g].T
            total = f32(f64(total) + f64(f32(products * f64(f32(f64(w.scales[:, g]) * unit)))))
            if w.minima is not None:
                unit_sum = f32(unit * digits[:, g].sum(axis=1, keepdims=True))
                total = f32(f64(total) + f64(f32(f64(w.minima[:, g]) * f64(unit_sum))))
    return total
