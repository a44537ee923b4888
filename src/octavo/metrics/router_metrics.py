"""Every metric of the router, all under `octavo:router_`, in a registry of its own."""

from prometheus_client import Counter, Gauge, Histogram, ProcessCollector, generate_latest

from octavo.metrics.plain_counter import PlainCounter
from octavo.metrics.registry import new_registry
from octavo.metrics.token_histogram import TokenHistogram

OVERHEAD_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
QUEUE_BUCKETS = (0.01, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class RouterMetrics:
    def __init__(self) -> None:
        self.registry = new_registry()
        self._create_counters()
        self._create_gauges()
        self._overhead = TokenHistogram(
            "octavo:router_overhead_seconds",
            "From a request's last byte to the choice of its endpoint.",
            {},
            buckets=OVERHEAD_BUCKETS,
            registry=self.registry,
        )
        self._queue = Histogram(
            "octavo:router_queue_seconds",
            "That requests waited for an endpoint, by outcome: served, late, or refused at once.",
            ("outcome",),
            buckets=QUEUE_BUCKETS,
            registry=self.registry,
        )
        self._queued = Gauge(
            "octavo:router_queue_requests", "Requests that wait for an endpoint.", registry=self.registry
        )
        ProcessCollector(registry=self.registry)

    def _create_counters(self) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"octavo:router_{name}", text, labels, registry=self.registry)

        def plain_counter(name: str, text: str, *labels: str) -> PlainCounter:
            return PlainCounter(f"octavo:router_{name}", text, *labels, registry=self.registry)

        self._decisions = plain_counter("decisions", "Requests sent to an endpoint.", "policy", "endpoint")
        self._predicted = plain_counter(
            "predicted_cached_tokens", "Prompt tokens expected in the endpoint's cache.", "policy"
        )
        self._actual = counter(
            "actual_cached_tokens", "Prompt tokens the endpoint said were in its cache.", "policy"
        )
        self._failovers = counter(
            "failovers", "Attempts that failed, and what became of the request.", "reason", "outcome"
        )
        self._ejections = counter("ejections", "Times an endpoint's circuit breaker opened.", "endpoint")
        self._discovery_errors = counter(
            "discovery_errors", "Times a source of endpoints could not be read; they stay.", "source"
        )
        self._known_answers = counter(
            "known_answers", "Answers to the known question: right, wrong or silent.", "endpoint", "outcome"
        )
        self._changes = counter("health_changes", "Changes of an endpoint's health.", "endpoint", "state")

    def _create_gauges(self) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"octavo:router_{name}", text, ("endpoint",), registry=self.registry)

        self._up = gauge("endpoint_up", "1 while the endpoint may be asked.")
        self._requests = gauge("requests_running", "Requests under way at the endpoint.")
        self._tokens = gauge("reserved_tokens", "Load the router has put on the endpoint, in tokens.")

    def observe_decision(self, policy: str, endpoint: str, num_cached_tokens: int) -> None:
        self._decisions.add((policy, endpoint))
        self._predicted.add((policy,), num_cached_tokens)

    def observe_cached(self, policy: str, num_tokens: int) -> None:
        self._actual.labels(policy).inc(num_tokens)

    def observe_failover(self, reason: str, outcome: str) -> None:
        self._failovers.labels(reason, outcome).inc()

    def observe_ejection(self, endpoint: str) -> None:
        self._ejections.labels(endpoint).inc()

    def observe_change(self, endpoint: str, state: str) -> None:
        self._changes.labels(endpoint, state).inc()

    def forget_endpoint(self, endpoint: str) -> None:
        """It is gone, and its series with it: where endpoints come and go, they would pile up."""
        for metric in (
            self._up, self._requests, self._tokens, self._ejections, self._known_answers, self._changes,
        ):  # fmt: skip
            metric.remove_by_labels({"endpoint": endpoint})
        self._decisions.forget(lambda values: values[1] == endpoint)

    def observe_discovery_error(self, source: str) -> None:
        self._discovery_errors.labels(source).inc()

    def observe_known_answer(self, endpoint: str, outcome: str) -> None:
        self._known_answers.labels(endpoint, outcome).inc()

    def observe_overhead(self, seconds: float) -> None:
        self._overhead.observe(seconds)

    def observe_queue(self, outcome: str, seconds: float) -> None:
        self._queue.labels(outcome).observe(seconds)

    def observe_queue_length(self, num_requests: int) -> None:
        self._queued.set(num_requests)

    def observe_endpoint(self, endpoint: str, *, is_up: bool, num_requests: int, num_tokens: int) -> None:
        self._up.labels(endpoint).set(is_up)
        self._requests.labels(endpoint).set(num_requests)
        self._tokens.labels(endpoint).set(num_tokens)

    def render(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)
