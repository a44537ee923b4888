"""A histogram that is told of every token: an observation costs a bisection.

prometheus_client's own walks through its buckets and takes two locks, which is most of what a token costs the
server otherwise. Not thread-safe: one thread observes and renders.
"""

import bisect
import itertools
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class TokenHistogram(Collector):
    """Registers itself; rendered as any other histogram."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Mapping[str, str],
        *,
        buckets: tuple[float, ...],
        registry: CollectorRegistry,
    ) -> None:
        """buckets: upper bounds, ascending; one of infinity is added."""
        self._name = name
        self._text = text
        self._labels = labels
        self._bounds = buckets
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, value: float, count: int = 1) -> None:
        """So many observations of the same value."""
        self._counts[bisect.bisect_left(self._bounds, value)] += count
        self._sum += value * count

    def describe(self) -> list[HistogramMetricFamily]:
        return [HistogramMetricFamily(self._name, self._text, labels=tuple(self._labels))]

    def collect(self) -> Iterator[HistogramMetricFamily]:
        (family,) = self.describe()
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        buckets = list(zip(bounds, map(float, itertools.accumulate(self._counts)), strict=True))
        family.add_metric(tuple(self._labels.values()), buckets, self._sum)
        yield family
