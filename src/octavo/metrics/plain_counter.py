"""A counter that is told of every request: to count costs a look into a dictionary.

prometheus_client's own finds its series by the labels' text and takes a lock, at several calls each. Not
thread-safe: one thread counts and renders.
"""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class PlainCounter(Collector):
    """Registers itself; rendered as any other counter."""

    def __init__(self, name: str, text: str, *labels: str, registry: CollectorRegistry) -> None:
        self._name = name
        self._text = text
        self._labels = labels
        self._counts: dict[tuple[str, ...], float] = {}
        registry.register(self)

    def add(self, values: tuple[str, ...], amount: float = 1.0) -> None:
        """values: of the labels, in their order."""
        counts = self._counts
        counts[values] = counts.get(values, 0.0) + amount

    def forget(self, is_over: Callable[[tuple[str, ...]], bool]) -> None:
        """The series with such values."""
        self._counts = {values: count for values, count in self._counts.items() if not is_over(values)}

    def describe(self) -> list[CounterMetricFamily]:
        return [CounterMetricFamily(self._name, self._text, labels=self._labels)]

    def collect(self) -> Iterator[CounterMetricFamily]:
        (family,) = self.describe()
        for values, count in self._counts.items():
            family.add_metric(values, count)
        yield family
