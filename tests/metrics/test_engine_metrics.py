"""The names, types, labels and buckets that dashboards depend on."""

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from octavo.core.messages import EngineStats
from octavo.core.request import FinishReason
from octavo.metrics.engine_metrics import EngineMetrics, FinishedRequest

GAUGES = (
    *("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"),
    *("vllm:cache_config_info", "octavo:engine_up"),
)
COUNTERS = (
    *("vllm:prefix_cache_queries", "vllm:prefix_cache_hits", "vllm:num_preemptions", "vllm:prompt_tokens"),
    *("vllm:prompt_tokens_cached", "vllm:prompt_tokens_recomputed", "vllm:generation_tokens"),
    *("vllm:spec_decode_num_drafts", "vllm:spec_decode_num_draft_tokens"),
    "vllm:spec_decode_num_accepted_tokens",
    *("vllm:request_success", "vllm:admission_rejections", "octavo:engine_restarts"),
)
HISTOGRAMS = (
    *(
        "vllm:time_to_first_token_seconds",
        "vllm:inter_token_latency_seconds",
        "vllm:e2e_request_latency_seconds",
    ),
    *("vllm:request_time_per_output_token_seconds", "vllm:request_queue_time_seconds"),
    *("vllm:request_prefill_time_seconds", "vllm:request_decode_time_seconds"),
    *("vllm:request_inference_time_seconds", "vllm:request_prompt_tokens", "vllm:request_generation_tokens"),
    *("vllm:request_params_max_tokens", "vllm:iteration_tokens_total"),
)


def make_metrics() -> EngineMetrics:
    return EngineMetrics(model_name="m", max_model_len=300, cache_config={"block_size": "16"})


def families(metrics: EngineMetrics) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}


def value(metrics: EngineMetrics, sample: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(sample, {"model_name": "m", "engine": "0", **labels})
    assert found is not None, sample
    return found


def finished(reason: FinishReason = FinishReason.STOP, **changes: float | None) -> FinishedRequest:
    fields = {
        "num_prompt_tokens": 20,
        "num_cached_tokens": 16,
        "num_generation_tokens": 5,
        "max_tokens": 100,
        "e2e_seconds": 3.5,
        "queue_seconds": 0.5,
        "prefill_seconds": 1.0,
        "decode_seconds": 2.0,
        **changes,
    }
    return FinishedRequest(finish_reason=reason, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "names"),
    (("gauge", GAUGES), ("counter", COUNTERS), ("histogram", HISTOGRAMS)),
    ids=lambda x: str(x)[:9],
)
def test_every_name_has_its_type_and_labels_from_the_start(kind: str, names: tuple[str, ...]) -> None:
    exposed = families(make_metrics())
    for name in names:
        assert exposed[name].type == kind, name
        assert exposed[name].samples, name
        for sample in exposed[name].samples:
            assert (sample.labels["model_name"], sample.labels["engine"]) == ("m", "0")


def test_nothing_is_exposed_that_is_not_listed() -> None:
    ours = {name for name in families(make_metrics()) if ":" in name and not name.endswith("_created")}
    assert ours == {*GAUGES, *COUNTERS, *HISTOGRAMS}


def test_counts_of_tokens_have_buckets_up_to_the_context() -> None:
    samples = families(make_metrics())["vllm:request_prompt_tokens"].samples
    bounds = [sample.labels["le"] for sample in samples if sample.name.endswith("_bucket")]
    assert [float(bound) for bound in bounds] == [1, 2, 5, 10, 20, 50, 100, 200, float("inf")]


def test_the_engines_gauges_and_counters_are_taken_over() -> None:
    metrics = make_metrics()
    metrics.observe_engine(
        EngineStats(
            num_running=3, num_waiting=2, kv_usage=0.25, num_generation_tokens=10, prefix_cache_hits=16
        ),
        is_up=True,
        num_restarts=1,
    )
    metrics.observe_engine(
        EngineStats(num_generation_tokens=15, prefix_cache_hits=16), is_up=False, num_restarts=3
    )
    assert value(metrics, "vllm:num_requests_running") == 0
    assert value(metrics, "vllm:generation_tokens_total") == 15
    assert value(metrics, "vllm:prefix_cache_hits_total") == 16
    assert value(metrics, "octavo:engine_up") == 0
    assert value(metrics, "octavo:engine_restarts_total") == 3


def test_each_step_counts_once_by_its_tokens() -> None:
    metrics = make_metrics()
    for tokens in (0, 1, 8, 512):
        metrics.observe_step(EngineStats(num_step_tokens=tokens))
    assert value(metrics, "vllm:iteration_tokens_total_count") == 3
    assert value(metrics, "vllm:iteration_tokens_total_sum") == 521
    assert value(metrics, "vllm:iteration_tokens_total_bucket", le="8.0") == 2


def test_a_finished_request_is_in_every_histogram() -> None:
    metrics = make_metrics()
    metrics.observe_finished(finished(FinishReason.LENGTH))
    assert value(metrics, "vllm:request_success_total", finished_reason="length") == 1
    assert value(metrics, "vllm:request_success_total", finished_reason="stop") == 0
    assert value(metrics, "vllm:prompt_tokens_cached_total") == 16
    sums = {
        "e2e_request_latency_seconds": 3.5,
        "request_queue_time_seconds": 0.5,
        "request_prefill_time_seconds": 1.0,
        "request_decode_time_seconds": 2.0,
        "request_inference_time_seconds": 3.0,
        "request_time_per_output_token_seconds": 0.5,
        "request_prompt_tokens": 20,
        "request_generation_tokens": 5,
        "request_params_max_tokens": 100,
    }
    assert {name: value(metrics, f"vllm:{name}_sum") for name in sums} == sums


def test_a_request_without_a_token_has_no_token_times() -> None:
    metrics = make_metrics()
    metrics.observe_finished(finished(FinishReason.ABORT, decode_seconds=None, num_generation_tokens=0))
    assert value(metrics, "vllm:e2e_request_latency_seconds_count") == 1
    assert value(metrics, "vllm:request_prefill_time_seconds_count") == 0
    assert value(metrics, "vllm:request_time_per_output_token_seconds_count") == 0


def test_tokens_that_arrive_together_share_their_time() -> None:
    metrics = make_metrics()
    metrics.observe_first_token(0.05)
    metrics.observe_next_tokens(0.4, 4)
    assert value(metrics, "vllm:inter_token_latency_seconds_count") == 4
    assert value(metrics, "vllm:inter_token_latency_seconds_sum") == pytest.approx(0.4)
    assert value(metrics, "vllm:time_to_first_token_seconds_count") == 1
