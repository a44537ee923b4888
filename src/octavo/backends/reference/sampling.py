"""How the next token is chosen from a row of adjusted logits, without a sort, a softmax or a random state.

The token is the argmax over the survivors of logit / T + Gumbel noise, a function of (seed, branch, position,
token id); ties go to the lowest id. Sums that decide who survives are sums of integers, so their order does
not matter.
"""

import numpy as np

from octavo.backends.reference.arithmetic import F32, U32, exp, f32, f64, log
from octavo.core.sampling_params import SamplingParams

_MASK64 = (1 << 64) - 1
_PROBABILITY_ONE = np.float32(2.0**30)  # integer weight of the most probable token
_SMALL = np.float32(2.0**-12)
_LARGEST_UNIFORM = np.float32(1 - 2.0**-24)


def sample(logits: F32, sampling: SamplingParams, seed: int, branch: int, position: int) -> int:
    """The token at position for one row of adjusted logits [vocab], of which some are above -inf."""
    if sampling.is_greedy:
        return int(np.argmax(logits))
    scaled = f32(f64(logits) / f64(np.float32(sampling.temperature))) + np.float32(0)
    keep = scaled >= _threshold(scaled, sampling)
    noise = gumbel(seed, branch, position, len(logits))
    return int(np.argmax(np.where(keep, f32(f64(scaled) + f64(noise)), -np.inf)))


def _threshold(scaled: F32, sampling: SamplingParams) -> np.float32:
    """The smallest scaled logit that survives top-k, then top-p among those, and min-p. Ties survive."""
    best = scaled.max()
    probability = exp(f32(f64(scaled) - f64(best)))
    threshold = np.float32(-np.inf)
    if 0 < sampling.top_k < len(scaled):
        threshold = np.sort(scaled)[-sampling.top_k]
    if sampling.top_p < 1:
        weight = np.where(
            scaled >= threshold, (probability * _PROBABILITY_ONE).astype(np.uint64), np.uint64(0)
        )
        order = np.argsort(scaled)[::-1]
        target = float(sampling.top_p) * float(weight.sum())
        reached = int(np.argmax(np.cumsum(weight[order]).astype(np.float64) >= target))
        threshold = max(threshold, scaled[order[reached]])
    if sampling.min_p > 0:
        likely = scaled[probability >= np.float32(sampling.min_p)]
        threshold = max(threshold, likely.min())
    return np.float32(threshold)


def gumbel(seed: int, branch: int, position: int, vocab_size: int) -> F32:
    """-log(E), E exponential: from 32 hashed bits a uniform in (0, 1), finest near 0, where E is small."""
    bits = _hash(seed, branch, position, vocab_size)
    uniform = (bits >> np.uint32(16)).astype(np.float32) * np.float32(65536) + (
        bits & np.uint32(0xFFFF)
    ).astype(np.float32)
    uniform = uniform * np.float32(2.0**-32) + np.float32(2.0**-33)
    uniform = np.where(uniform > _LARGEST_UNIFORM, _LARGEST_UNIFORM, uniform)
    near_zero = uniform + (uniform * uniform) * np.float32(0.5)
    exponential = np.where(uniform < _SMALL, near_zero, -log(np.float32(1) - uniform))
    return -log(exponential)


def _hash(seed: int, branch: int, position: int, vocab_size: int) -> U32:
    """32 bits per token id: a 63-bit key per row (splitmix64) in a two-multiply integer mixer."""
    key = _splitmix64(_splitmix64(_splitmix64(seed & _MASK64) ^ branch) ^ position)
    low, multiplier = np.uint32(key & 0xFFFFFFFF), np.uint32((key >> 32) | 1)
    h: U32 = (np.arange(vocab_size, dtype=np.uint32) * np.uint32(0x9E3779B1)) ^ low
    h = (h ^ (h >> np.uint32(16))) * multiplier
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x846CA68B)
    return h ^ (h >> np.uint32(16))


def _splitmix64(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & _MASK64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK64
    return x ^ (x >> 31)
