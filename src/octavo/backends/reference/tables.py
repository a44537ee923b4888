"""Rotary tables from double-precision additions, multiplications and divisions only.

NumPy's and libm's transcendental functions differ between processors; these do not. The native library
computes the same tables by the same operations (csrc/tables.cpp); a test compares them.
"""

import math

import numpy as np

from octavo.backends.reference.arithmetic import F32, F64

_LN2 = 0.6931471805599453
_TWO_OVER_PI = 0.6366197723675814
# pi / 2 in three parts of 33 bits each (Cody and Waite): products with the quadrant number stay exact.
_PIO2_PARTS = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21)


def log_scalar(x: float) -> float:
    """ln x by the series of 2 artanh((m - 1) / (m + 1)) after x = m 2^e with m in [0.75, 1.5)."""
    m, e = math.frexp(x)
    if m < 0.75:
        m, e = 2 * m, e - 1
    s = (m - 1.0) / (m + 1.0)
    s2 = s * s
    series = 0.0
    for k in range(27, 0, -2):
        series = series * s2 + 1.0 / k
    return 2.0 * s * series + e * _LN2


def exp_scalar(x: float) -> float:
    """e^x by a Taylor series after x = n ln 2 + r."""
    n = math.floor(x / _LN2 + 0.5)
    r = x - n * _LN2
    series = 1.0
    for k in range(18, 0, -1):
        series = series * r / k + 1.0
    return math.ldexp(series, n)


def rope_table(num_positions: int, head_dim: int, base: float) -> tuple[F32, F32]:
    """cos and sin of position * base^(-2i / head_dim): each [num_positions, head_dim / 2]."""
    log_base = log_scalar(base)
    pairs = head_dim // 2
    frequency = np.array([exp_scalar(-(2.0 * i / head_dim) * log_base) for i in range(pairs)], np.float64)
    angle = np.arange(num_positions, dtype=np.float64)[:, None] * frequency
    quadrant = np.floor(angle * _TWO_OVER_PI + 0.5)
    r = angle
    for part in _PIO2_PARTS:
        r = r - quadrant * part
    sin, cos = _sin_taylor(r), _cos_taylor(r)
    index = quadrant.astype(np.int64) & 3
    cos_of = np.select([index == 0, index == 1, index == 2], [cos, -sin, -cos], sin)
    sin_of = np.select([index == 0, index == 1, index == 2], [sin, cos, -sin], -cos)
    return cos_of.astype(np.float32), sin_of.astype(np.float32)


def _sin_taylor(r: F64) -> F64:
    r2 = r * r
    series = np.ones_like(r)
    for k in range(20, 0, -2):
        series = 1.0 - series * r2 / (k * (k + 1.0))
    return series * r


def _cos_taylor(r: F64) -> F64:
    r2 = r * r
    series = np.ones_like(r)
    for k in range(19, 0, -2):
        series = 1.0 - series * r2 / (k * (k + 1.0))
    return series
