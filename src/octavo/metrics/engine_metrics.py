"""Every metric of a replica: name, type, labels and buckets. The names are those dashboards query.

`vllm:` names mean what they mean in vLLM; `octavo:` names are ours. Fed by the server process, which renders
them; with a registry of their own, so that a process may hold several.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from octavo.core.messages import EngineStats
from octavo.core.request import FinishReason
from octavo.metrics.registry import new_registry
from octavo.metrics.token_histogram import TokenHistogram

CONTENT_TYPE = CONTENT_TYPE_LATEST

# Seconds; the edges are those of the dashboards that query these histograms.
FIRST_TOKEN_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
PER_TOKEN_BUCKETS = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
PER_REQUEST_BUCKETS = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
)  # fmt: skip
STEP_TOKEN_BUCKETS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)

# The engine's own counters: its field, our metric, its help.
_ENGINE_COUNTERS = {
    "num_preemptions": ("vllm:num_preemptions", "Requests that gave up their blocks to others."),
    "num_prompt_tokens": ("vllm:prompt_tokens", "Prompt tokens processed."),
    "num_generation_tokens": ("vllm:generation_tokens", "Tokens generated."),
    "num_recomputed_tokens": ("vllm:prompt_tokens_recomputed", "Tokens computed again after a preemption."),
    "prefix_cache_queries": ("vllm:prefix_cache_queries", "Tokens looked up in the prefix cache."),
    "num_drafts": ("vllm:spec_decode_num_drafts", "Guesses of what an answer goes on with."),
    "num_draft_tokens": ("vllm:spec_decode_num_draft_tokens", "Tokens in these guesses."),
    "num_accepted_tokens": ("vllm:spec_decode_num_accepted_tokens", "Tokens in them that were right."),
    "prefix_cache_hits": ("vllm:prefix_cache_hits", "Tokens found in the prefix cache."),
}


@dataclasses.dataclass(frozen=True, slots=True)
class FinishedRequest:
    """One sequence's life in figures. decode_seconds: from the first to the last token, None without one."""

    finish_reason: FinishReason
    num_prompt_tokens: int
    num_cached_tokens: int
    num_generation_tokens: int
    max_tokens: int
    e2e_seconds: float
    queue_seconds: float
    prefill_seconds: float
    decode_seconds: float | None


class EngineMetrics:
    """The metrics of one engine, labelled model_name and engine="0"."""

    def __init__(self, *, model_name: str, max_model_len: int, cache_config: Mapping[str, str]) -> None:
        """max_model_len bounds the buckets of token counts; cache_config: labels of cache_config_info."""
        self.registry = new_registry()
        self._labels = {"model_name": model_name, "engine": "0"}
        self._create_gauges(cache_config)
        self._create_counters()
        self._create_histograms(_decades(max_model_len))
        self._seen = EngineStats()  # as of the last observe_engine
        self._seen_restarts = 0
        ProcessCollector(registry=self.registry)

    def _create_gauges(self, cache_config: Mapping[str, str]) -> None:
        self._running = self._labelled(Gauge, "vllm:num_requests_running", "Requests being computed.")
        self._waiting = self._labelled(Gauge, "vllm:num_requests_waiting", "Requests waiting to be computed.")
        self._kv_usage = self._labelled(
            Gauge, "vllm:kv_cache_usage_perc", "KV blocks in use; 1 is all of them."
        )
        self._is_up = self._labelled(Gauge, "octavo:engine_up", "1 while an engine is loaded and answers.")
        labels = {**self._labels, **cache_config}
        info = Gauge(
            "vllm:cache_config_info", "The KV cache, in labels.", tuple(labels), registry=self.registry
        )
        info.labels(**labels).set(1)

    def _create_counters(self) -> None:
        self._engine_counters = {
            field: self._labelled(Counter, name, text) for field, (name, text) in _ENGINE_COUNTERS.items()
        }
        self._cached_tokens = self._labelled(
            Counter,
            "vllm:prompt_tokens_cached",
            "Prompt tokens of finished requests that came from the prefix cache.",
        )
        self._restarts = self._labelled(
            Counter, "octavo:engine_restarts", "Engines started after one had died."
        )
        finished = self._counter_family("vllm:request_success", "Finished requests.", "finished_reason")
        self._finished = {
            reason: finished.labels(**self._labels, finished_reason=reason.value) for reason in FinishReason
        }
        rejections = self._counter_family("vllm:admission_rejections", "Requests answered 503.", "reason")
        self._queue_full = rejections.labels(**self._labels, reason="max_num_queued_reqs")

    def _create_histograms(self, token_buckets: tuple[int, ...]) -> None:
        def seconds(name: str, text: str, buckets: tuple[float, ...] = PER_REQUEST_BUCKETS) -> Histogram:
            histogram: Histogram = self._labelled(Histogram, f"vllm:{name}", text, buckets=buckets)
            return histogram

        def tokens(name: str, text: str) -> Histogram:
            histogram: Histogram = self._labelled(Histogram, f"vllm:{name}", text, buckets=token_buckets)
            return histogram

        self._first_token = seconds(
            "time_to_first_token_seconds", "Arrival to first token.", FIRST_TOKEN_BUCKETS
        )
        self._inter_token = TokenHistogram(
            "vllm:inter_token_latency_seconds",
            "Between two tokens.",
            self._labels,
            buckets=PER_TOKEN_BUCKETS,
            registry=self.registry,
        )
        self._per_token = seconds(
            "request_time_per_output_token_seconds",
            "A request's mean time between tokens.",
            PER_TOKEN_BUCKETS,
        )
        self._e2e = seconds("e2e_request_latency_seconds", "Arrival to last token.")
        self._queue = seconds("request_queue_time_seconds", "Arrival to first step.")
        self._prefill = seconds("request_prefill_time_seconds", "First step to first token.")
        self._decode = seconds("request_decode_time_seconds", "First token to last token.")
        self._inference = seconds("request_inference_time_seconds", "First step to last token.")
        self._prompt_tokens = tokens("request_prompt_tokens", "Prompt tokens of a request.")
        self._generation_tokens = tokens("request_generation_tokens", "Tokens generated for a request.")
        self._max_tokens = tokens("request_params_max_tokens", "max_tokens of a request.")
        self._step_tokens = self._labelled(
            Histogram, "vllm:iteration_tokens_total", "Tokens computed in a step.", buckets=STEP_TOKEN_BUCKETS
        )

    def _labelled(self, kind: Any, name: str, text: str, **options: Any) -> Any:
        family = kind(name, text, tuple(self._labels), registry=self.registry, **options)
        return family.labels(**self._labels)

    def _counter_family(self, name: str, text: str, label: str) -> Counter:
        return Counter(name, text, (*self._labels, label), registry=self.registry)

    def observe_step(self, stats: EngineStats) -> None:
        """A step has ended; stats are as of its end."""
        if stats.num_step_tokens:
            self._step_tokens.observe(stats.num_step_tokens)

    def observe_engine(self, stats: EngineStats, *, is_up: bool, num_restarts: int) -> None:
        """The engine now. The counters of stats, and num_restarts, count from the server's start."""
        self._running.set(stats.num_running)
        self._waiting.set(stats.num_waiting)
        self._kv_usage.set(stats.kv_usage)
        self._is_up.set(is_up)
        for field, counter in self._engine_counters.items():
            counter.inc(getattr(stats, field) - getattr(self._seen, field))
        self._restarts.inc(num_restarts - self._seen_restarts)
        self._seen, self._seen_restarts = stats, num_restarts

    def observe_first_token(self, seconds: float) -> None:
        """seconds since the request's arrival."""
        self._first_token.observe(seconds)

    def observe_next_tokens(self, seconds: float, count: int) -> None:
        """count tokens arrived seconds after the one before them."""
        self._inter_token.observe(seconds / count, count)

    def observe_finished(self, request: FinishedRequest) -> None:
        self._finished[request.finish_reason].inc()
        self._cached_tokens.inc(request.num_cached_tokens)
        self._e2e.observe(request.e2e_seconds)
        self._prompt_tokens.observe(request.num_prompt_tokens)
        self._generation_tokens.observe(request.num_generation_tokens)
        self._max_tokens.observe(request.max_tokens)
        if request.decode_seconds is None:
            return
        self._queue.observe(request.queue_seconds)
        self._prefill.observe(request.prefill_seconds)
        self._decode.observe(request.decode_seconds)
        self._inference.observe(request.prefill_seconds + request.decode_seconds)
        if request.num_generation_tokens > 1:
            self._per_token.observe(request.decode_seconds / (request.num_generation_tokens - 1))

    def observe_rejection(self) -> None:
        """A request was refused because the queue was full."""
        self._queue_full.inc()

    def render(self) -> bytes:
        """The exposition in Prometheus' text format, of type CONTENT_TYPE."""
        return generate_latest(self.registry)


def _decades(limit: int) -> tuple[int, ...]:
    """1, 2, 5, 10, 20, 50 ... up to limit."""
    buckets = []
    power = 1
    while power <= limit:
        buckets += [step * power for step in (1, 2, 5) if step * power <= limit]
        power *= 10
    return tuple(buckets)
