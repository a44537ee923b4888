"""What a sample of durations is told as."""

from collections.abc import Iterable

import msgspec
import numpy as np


class Percentiles(msgspec.Struct, frozen=True):
    """Of a sample in seconds, interpolated linearly between its order statistics; all 0 without a sample."""

    mean: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    max: float = 0.0

    @classmethod
    def of(cls, sample: Iterable[float]) -> "Percentiles":
        values = np.fromiter(sample, np.float64)
        if not len(values):
            return cls()
        p50, p90, p99 = np.percentile(values, (50, 90, 99)).tolist()
        return cls(float(values.mean()), p50, p90, p99, float(values.max()))
