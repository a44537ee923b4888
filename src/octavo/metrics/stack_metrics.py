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

    def __add__(self, other: "ServerCounts") -> "ServerCounts":
        """At the same URL."""
        return ServerCounts(
            self.url,
            self.is_up or other.is_up,
            self.num_requests + other.num_requests,
            self.num_prompts + other.num_prompts,
            self.num_received + other.num_received,
        )


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
        rows = _by_url(self._servers())
        num_requests = {row.url: row.num_requests for row in rows}
        num_prompts = {row.url: row.num_prompts for row in rows}
        num_answering = {url: num_requests[url] - num_prompts[url] for url in num_requests}
        is_up = {row.url: row.is_up for row in rows}
        yield _gauge("healthy_pods_total", "1 while the server may be asked.", is_up)
        yield _gauge("current_qps", "Requests per second of the last minute.", self._rates_of(rows))
        yield _gauge("num_prefill_requests", "Requests without a first token.", num_prompts)
        yield _gauge("num_decoding_requests", "Requests with a first token.", num_answering)
        if self._has_engines_names:
            yield _gauge("num_requests_running", "Requests under way.", num_requests)
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


def _by_url(rows: Sequence[ServerCounts]) -> list[ServerCounts]:
    """One row each: one that leaves may have the URL of one that has joined."""
    found: dict[str, ServerCounts] = {}
    for row in rows:
        other = found.get(row.url)
        found[row.url] = row if other is None else other + row
    return list(found.values())


def _gauge(name: str, text: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    """values: by the server's URL."""
    family = GaugeMetricFamily(f"vllm:{name}", text, labels=["server"])
    for url, value in values.items():
        family.add_metric([url], value)
    return family


class RecentRate:
    """How fast a count has grown of late, by what it was whenever somebody asked."""

    def __init__(self) -> None:
        self._seen: collections.deque[tuple[float, int]] = collections.deque()

    def observe(self, count: int, now: float) -> float:
        """Per second, since the newest look that is a window old, or the first; 0 at the first."""
        seen = self._seen
        if seen and count < seen[-1][1]:
            seen.clear()  # it is counted anew
        if not seen or now > seen[-1][0]:
            seen.append((now, count))
        while len(seen) > 2 and seen[1][0] <= now - WINDOW_SECONDS:
            seen.popleft()
        (since, before), (until, after) = seen[0], seen[-1]
        return (after - before) / (until - since) if until > since else 0.0
