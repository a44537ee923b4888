"""Numbers as integers, the digits, times a unit of their own: what an int8 KV cache holds and computes with.

A row of the cache is its digits, as float32, and behind them its unit.
"""

import numpy as np

from octavo.backends.reference.arithmetic import F32, f32, f64

KV_DIGITS = 127  # the largest digit of a key or value
QUERY_DIGITS = 127 * 256  # of a query or weight


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
    """Rows of the cache [..., n + 1] of keys or values [..., n]."""
    digits, units = quantize(rows, KV_DIGITS)
    return np.concatenate([digits, units[..., None]], axis=-1)


def digit_products(a: F32, b: F32) -> F32:
    """Sums of products [len(a), len(b)]: exact, as they stay below 2^31; then rounded to float32."""
    return f32(f64(a) @ f64(b).T)
