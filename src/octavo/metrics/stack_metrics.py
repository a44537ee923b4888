"""What the router of vLLM's production-stack calls its metrics, so that dashboards and autoscalers made for
it find them here. Reckoned when they are asked for: a request pays nothing for them.

Those whose names engines have too are told only if asked for: they would be counted twice.
"""

import collections
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

WINDOW_SECONDS = 60.0  # that a rate is of


class ServerCounts(msgspec.Struct, frozen=True):
    """One endpoint, now. num_prompts: requests without a first token; num_received: requests, ever."""

    url: str
    is_up: bool
    num_requests: int
    num_prompts: int
    num_received: int


class StackMetrics(Collector):
    def __init__(
        self,
        servers: Callable[[], Sequence[ServerCounts]],
        incoming: Mapping[str, int],
        *,
        has_engines_names: bool,
        registry: CollectorRegistry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """incoming: requests, ever, by model. Registers itself."""
        self._servers = servers
        self._incoming = incoming
        self._has_engines_names = has_engines_names
        self._clock = clock
        self._rates: dict[str, RecentRate] = {}  # of requests, by URL
        registry.register(self)

    def describe(self) -> list[Metric]:
        return []  # nothing is looked at before the first scrape

    def collect(self) -> Iterator[Metric]:
        rows = self._servers()
        rates = self._rates_of(rows)
        yield _gauge("healthy_pods_total", "1 while the server may be asked.", rows, _is_up)
        yield _gauge(
            "current_qps", "Requests per second of the last minute.", rows, lambda row: rates[row.url]
        )
        yield _gauge("num_prefill_requests", "Requests without a first token.", rows, _num_prompts)
        yield _gauge("num_decoding_requests", "Requests with a first token.", rows, _num_answering)
        if self._has_engines_names:
            yield _gauge("num_requests_running", "Requests under way.", rows, _num_requests)
        incoming = CounterMetricFamily(
            "vllm:num_incoming_requests", "Requests for models that are known.", labels=["model"]
        )
        for model, count in self._incoming.items():
            incoming.add_metric([model], count)
        yield incoming

    def _rates_of(self, rows: Sequence[ServerCounts]) -> dict[str, float]:
        """By URL. Who is no row any more is forgotten."""
        self._rates = {row.url: self._rates.get(row.url) or RecentRate() for row in rows}
        now = self._clock()
        return {row.url: self._rates[row.url].observe(row.num_received, now) for row in rows}


def _gauge(
    name: str, text: str, rows: Sequence[ServerCounts], value_of: Callable[[ServerCounts], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"vllm:{name}", text, labels=["server"])
    for row in rows:
        family.add_metric([row.url], value_of(row))
    return family


def _is_up(row: ServerCounts) -> float:
    return row.is_up


def _num_prompts(row: ServerCounts) -> float:
    return row.num_prompts


def _num_answering(row: ServerCounts) -> float:
    return row.num_requests - row.num_prompts


def _num_requests(row: ServerCounts) -> float:
    return row.num_requests


class RecentRate:
    """How fast a count has grown of late, by what it was whenever somebody asked."""

    def __init__(self) -> None:
        self._seen: collections.deque[tuple[float, int]] = collections.deque()

    def observe(self, count: int, now: float) -> float:
        """Per second, since the newest look that is a window old, or the first; 0 at the first."""
        seen = self._seen
        if not seen or now > seen[-1][0]:
            seen.append((now, count))
        while len(seen) > 2 and seen[1][0] <= now - WINDOW_SECONDS:
            seen.popleft()
        (since, before), (until, after) = seen[0], seen[-1]
        return (after - before) / (until - since) if until > since else 0.0
