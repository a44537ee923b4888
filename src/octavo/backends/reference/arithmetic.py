"""The exact arithmetic in NumPy: the specification that every native kernel equals bit for bit.

Results are float32 with denormals flushed to zero (sign kept). Sums and products are formed in float64 and
rounded once: with 53 >= 2 * 24 + 2 bits that is the same as rounding the exact result (Figueroa, "When is
double rounding innocuous?").
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
BF16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]

CHUNK = 32  # K elements in one pair of even and odd chains
LANES = 16

_SMALLEST_NORMAL = 2.0**-126
_FLUSH_BELOW = _SMALLEST_NORMAL - 2.0**-151  # below this, rounding to 24 bits gives a denormal


def f32(x: ArrayLike) -> F32:
    """Round to float32 and flush denormals: the end of every operation."""
    exact = np.asarray(x, np.float64)
    with np.errstate(over="ignore", under="ignore"):
        rounded = exact.astype(np.float32)
    return np.where(np.abs(exact) < _FLUSH_BELOW, np.copysign(np.float32(0), rounded), rounded)


def f64(x: ArrayLike) -> F64:
    return np.asarray(x, np.float64)


def from_bf16(x: BF16) -> F32:
    """Expand, reading denormals as zero."""
    return f32((x.astype(np.uint32) << 16).view(np.float32))


def to_bf16(x: F32) -> BF16:
    """Round an activation to nearest even; NaN stays NaN."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> 16
    return np.where(np.isnan(x), np.uint32(0x7FC0), rounded).astype(np.uint16)


def linear(x: BF16, w: BF16, chunk: int = CHUNK) -> F32:
    """y[m, n] = sum over k of x[m, k] * w[n, k].

    Per chunk of 32 along K an even and an odd chain of fma from +0; the accumulator takes even + odd. A
    shorter last chunk is the same as zero padding. This is the order of AMX's TDPBF16PS.
    """
    padding = -x.shape[1] % chunk
    xs = f64(from_bf16(np.pad(x, ((0, 0), (0, padding)))))
    ws = f64(from_bf16(np.pad(w, ((0, 0), (0, padding)))))
    shape = (x.shape[0], w.shape[0])
    total = np.zeros(shape, np.float32)
    for start in range(0, xs.shape[1], chunk):
        chains = []
        for parity in (0, 1):
            chain = np.zeros(shape, np.float32)
            for k in range(start + parity, start + chunk, 2):
                chain = f32(xs[:, k, None] * ws[None, :, k] + f64(chain))
            chains.append(f64(chain))
        total = f32(f64(total) + f64(f32(chains[0] + chains[1])))
    return total


def tree(lanes: F32) -> F32:
    """Sum the last axis of 16 lanes by halves: lane j takes lane j + 8, then j + 4, j + 2, j + 1."""
    half = lanes.shape[-1] // 2
    while half:
        lanes = f32(f64(lanes[..., :half]) + f64(lanes[..., half : 2 * half]))
        half //= 2
    return lanes[..., 0]


def rms_norm(x: F32, weight: F32, epsilon: float) -> F32:
    """x * (1 / sqrt(mean of squares + epsilon)) * weight; squares by a tree per 32 columns, ascending."""
    columns = x.shape[1]
    padded = np.pad(x, ((0, 0), (0, -columns % CHUNK)))
    squares = f32(f64(padded) * f64(padded)).reshape(len(x), padded.shape[1] // CHUNK, 2, LANES)
    sums = tree(f32(f64(squares[:, :, 0]) + f64(squares[:, :, 1])))  # [rows, chunks]
    total = np.zeros(len(x), np.float32)
    for chunk in range(sums.shape[1]):
        total = f32(f64(total) + f64(sums[:, chunk]))
    mean = f32(f64(total) / columns)
    root = f32(np.sqrt(f64(f32(f64(mean) + f64(np.float32(epsilon))))))
    inverse = f32(1.0 / f64(root))
    return f32(f64(f32(f64(x) * f64(inverse)[:, None])) * f64(weight))


# The polynomials are Cephes' expf and logf. Their float32 steps need no flushing: a denormal intermediate is
# only ever added to a normal number.
_LOG2_E = np.float32(1.44269504088896341)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
_ROUND_MAGIC = np.float32(12582912.0)  # 1.5 * 2^23: adding and subtracting rounds to the nearest integer
EXP_FLOOR = np.float32(-86.0)
EXP_CEILING = np.float32(88.0)
_EXP_POLYNOMIAL = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
_LOG_POLYNOMIAL = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_SQRT_HALF_BITS = np.int32(0x3F3504F3)


def exp(x: F32) -> F32:
    """e^x; exactly 0 below -86, constant above 88."""
    clamped = np.where(x > EXP_FLOOR, x, EXP_FLOOR)
    clamped = np.where(clamped > EXP_CEILING, EXP_CEILING, clamped)
    n = (clamped * _LOG2_E + _ROUND_MAGIC) - _ROUND_MAGIC
    r = (clamped - n * _LN2_HIGH) - n * _LN2_LOW
    p = np.full_like(r, np.float32(_EXP_POLYNOMIAL[0]))
    for coefficient in _EXP_POLYNOMIAL[1:]:
        p = p * r + np.float32(coefficient)
    y = (p * (r * r) + r) + np.float32(1)
    scaled = (y.view(np.int32) + (n.astype(np.int32) << 23)).view(np.float32)
    return np.where(x < EXP_FLOOR, np.float32(0), scaled)


def log(x: F32) -> F32:
    """Natural logarithm of normal, positive numbers."""
    bits = x.view(np.int32)
    e = (bits - _SQRT_HALF_BITS) >> 23
    f = (bits - (e << 23)).view(np.float32) - np.float32(1)
    exponent = e.astype(np.float32)
    p = np.full_like(f, np.float32(_LOG_POLYNOMIAL[0]))
    for coefficient in _LOG_POLYNOMIAL[1:]:
        p = p * f + np.float32(coefficient)
    z = f * f
    y = (p * f) * z
    y = y + exponent * _LN2_LOW
    y = y - z * np.float32(0.5)
    result: F32 = (f + y) + exponent * _LN2_HIGH
    return result


def silu(x: F32) -> F32:
    """x / (1 + e^-x)."""
    return f32(f64(x) / f64(f32(1.0 + f64(exp(-x)))))


# gelu's tanh formula is x sigmoid(2 u) with u = sqrt(2 / pi) (x + 0.044715 x^3), so 2 u = x (A + B x^2).
_GELU_A = np.float32(1.5957691216057308)
_GELU_B = np.float32(0.0713548162726009)


def gelu_tanh(x: F32) -> F32:
    """x / (1 + e^-(x (A + B x^2)))."""
    squared = f32(f64(x) * f64(x))
    slope = f32(f64(f32(f64(squared) * f64(_GELU_B))) + f64(_GELU_A))
    twice_u = f32(f64(x) * f64(slope))
    return f32(f64(x) / f64(f32(1.0 + f64(exp(-twice_u)))))


def softcap(x: F32, cap: float) -> F32:
    """cap tanh(x / cap), with tanh y = 1 - 2 / (1 + e^2y). NaN stays NaN."""
    c = np.float32(cap)
    quotient = f32(f64(x) / f64(c))
    denominator = f32(1.0 + f64(exp(f32(f64(quotient) * 2.0))))
    capped = f32(f64(f32(1.0 - f64(f32(2.0 / f64(denominator))))) * f64(c))
    return np.where(np.isnan(x), x, capped)
