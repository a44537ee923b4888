"""Rotary tables from double-precision additions, multiplications and divisions only.

NumPy's and libm's transcendental functions differ between processors; these do not. Frequencies come from
models/rotary.py. The native library computes the same tables by the same operations
(csrc/tables.cpp); a test compares them.
"""

import numpy as np

from octavo.backends.reference.arithmetic import F32, F64

_TWO_OVER_PI = 0.6366197723675814
# pi / 2 in three parts of 33 bits each (Cody and Waite): products with the quadrant number stay exact.
_PIO2_PARTS = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21)


def rope_table(num_positions: int, frequencies: F64, attention_factor: float = 1.0) -> tuple[F32, F32]:
    """cos and sin of position * frequency, times attention_factor: each [num_positions, num_pairs]."""
    angle = np.arange(num_positions, dtype=np.float64)[:, None] * frequencies
    quadrant = np.floor(angle * _TWO_OVER_PI + 0.5)
    r = angle
    for part in _PIO2_PARTS:
        r = r - quadrant * part
    sin, cos = _sin_taylor(r), _cos_taylor(r)
    index = quadrant.astype(np.int64) & 3
    cos_of = np.select([index == 0, index == 1, index == 2], [cos, -sin, -cos], sin)
    sin_of = np.select([index == 0, index == 1, index == 2], [sin, cos, -sin], -cos)
    return (cos_of * attention_factor).astype(np.float32), (sin_of * attention_factor).astype(np.float32)


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
