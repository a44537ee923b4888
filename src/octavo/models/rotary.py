"""Rotary positions as frequencies: base, scaling, and the double-precision functions they are computed with.

Additions, multiplications and divisions of Python floats only (frexp, ldexp and floor are exact): the
results are the same on every processor, which NumPy's and libm's are not. Back ends turn frequencies into
tables of cosines and sines, by such code of their own.
"""

import dataclasses
import enum
import math

_LN2 = 0.6931471805599453
_TWO_PI = 6.283185307179586


class RopePairing(enum.StrEnum):
    """Which two dimensions of a head rotate together."""

    INTERLEAVED = "interleaved"  # (0, 1), (2, 3) ...: llama GGUF files store q and k permuted for this
    HALVES = "halves"  # (0, d/2), (1, d/2 + 1) ...: Hugging Face checkpoints, qwen2 and gemma3 GGUF files


@dataclasses.dataclass(frozen=True, slots=True)
class LinearScaling:
    """Positions are divided by factor."""

    factor: float


@dataclasses.dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Waves longer than original_context / low_factor are stretched by factor, shorter ones than
    original_context / high_factor are kept, those between are blended (Llama 3.1)."""

    factor: float
    low_factor: float
    high_factor: float
    original_context: int


@dataclasses.dataclass(frozen=True, slots=True)
class YarnScaling:
    """YaRN (arXiv:2309.00071): pairs that turn more than beta_fast times in original_context are kept, those
    that turn less than beta_slow times are stretched by factor, with a ramp over the pairs between.

    attention_factor multiplies cosines and sines; None: 0.1 ln(factor) + 1.
    """

    factor: float
    original_context: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    is_truncated: bool = True  # the ramp begins and ends at whole pairs


@dataclasses.dataclass(frozen=True, slots=True)
class FactorScaling:
    """Each pair's frequency is divided by a factor of its own.

    factors None: they are a tensor of the checkpoint, the part `rope_factors`. longest: the number of
    positions for which they hold. LongRoPE (arXiv:2402.13753) takes others beyond, and with them every key
    computed before would change; so the context ends there.
    """

    factors: tuple[float, ...] | None
    attention_factor: float = 1.0
    longest: int | None = None


RopeScaling = LinearScaling | Llama3Scaling | YarnScaling | FactorScaling


@dataclasses.dataclass(frozen=True, slots=True)
class Rope:
    """Position p turns pair i of a head by p * frequency_i rad; frequency_i is base^(-2i / dim) scaled."""

    base: float
    pairing: RopePairing
    dim: int  # how many leading dimensions of a head rotate
    scaling: RopeScaling | None = None

    @property
    def has_factor_tensor(self) -> bool:
        return isinstance(self.scaling, FactorScaling) and self.scaling.factors is None

    @property
    def attention_factor(self) -> float:
        """What cosines and sines are multiplied by."""
        match self.scaling:
            case FactorScaling(attention_factor=factor):
                return factor
            case YarnScaling(factor, attention_factor=given):
                return yarn_attention_factor(factor) if given is None else given
        return 1.0

    def usable(self, context: int) -> int:
        """How much of a context of that many tokens it serves."""
        longest = self.scaling.longest if isinstance(self.scaling, FactorScaling) else None
        return context if longest is None else min(context, longest)

    def frequencies(self) -> tuple[float, ...]:
        """Radians per token of each pair; not yet divided by a factor tensor."""
        log_base = log(self.base)
        plain = [exp(-(2.0 * i / self.dim) * log_base) for i in range(self.dim // 2)]
        match self.scaling:
            case LinearScaling(factor):
                return tuple(frequency / factor for frequency in plain)
            case Llama3Scaling():
                return tuple(_llama3(frequency, self.scaling) for frequency in plain)
            case YarnScaling():
                return _yarn(plain, self.scaling, self.dim, log_base)
            case FactorScaling(factors=tuple(factors)):
                return tuple(frequency / factor for frequency, factor in zip(plain, factors, strict=True))
        return tuple(plain)


def yarn_attention_factor(factor: float, scale: float = 1.0) -> float:
    """What YaRN multiplies cosines and sines by, unless a model says otherwise."""
    return 0.1 * scale * log(factor) + 1.0 if factor > 1.0 else 1.0


def _llama3(frequency: float, scaling: Llama3Scaling) -> float:
    turns = scaling.original_context * frequency / _TWO_PI  # in the original context
    if turns < scaling.low_factor:
        return frequency / scaling.factor
    if turns > scaling.high_factor:
        return frequency
    kept = (turns - scaling.low_factor) / (scaling.high_factor - scaling.low_factor)
    return (1.0 - kept) * frequency / scaling.factor + kept * frequency


def _yarn(plain: list[float], scaling: YarnScaling, dim: int, log_base: float) -> tuple[float, ...]:
    def pair_that_turns(times: float) -> float:
        return dim * log(scaling.original_context / (times * _TWO_PI)) / (2.0 * log_base)

    first, last = pair_that_turns(scaling.beta_fast), pair_that_turns(scaling.beta_slow)
    if scaling.is_truncated:
        first, last = float(math.floor(first)), float(math.ceil(last))
    first, last = max(first, 0.0), min(last, dim - 1.0)
    span = last - first if last != first else 0.001
    stretched = [min(max((i - first) / span, 0.0), 1.0) for i in range(len(plain))]
    return tuple(
        frequency / scaling.factor * share + frequency * (1.0 - share)
        for frequency, share in zip(plain, stretched, strict=True)
    )


def log(x: float) -> float:
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


def exp(x: float) -> float:
    """e^x by a Taylor series after x = n ln 2 + r."""
    n = math.floor(x / _LN2 + 0.5)
    r = x - n * _LN2
    series = 1.0
    for k in range(18, 0, -1):
        series = series * r / k + 1.0
    return math.ldexp(series, n)
