import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from octavo.metrics.stack_metrics import RecentRate, ServerCounts, StackMetrics

BUSY = ServerCounts("http://a:1", True, num_requests=5, num_prompts=2, num_received=120)
LOST = ServerCounts("http://b:1", False, num_requests=0, num_prompts=0, num_received=7)


@pytest.mark.parametrize("has_engines_names", [False, True])
def test_servers_and_models_by_the_names_of_production_stack(has_engines_names: bool) -> None:
    registry, now = CollectorRegistry(), [100.0]
    rows: list[ServerCounts] = []
    StackMetrics(
        lambda: rows,
        {"tiny": 127},
        has_engines_names=has_engines_names,
        registry=registry,
        clock=lambda: now[0],
    )
    rows += [msgspec.structs.replace(row, num_received=0) for row in (BUSY, LOST)]
    assert 'vllm:current_qps{server="http://a:1"} 0.0' in generate_latest(registry).decode()
    rows[:] = [BUSY, LOST]
    now[0] += 10.0
    lines = generate_latest(registry).decode().splitlines()
    told = dict(line.split() for line in lines if not line.startswith("#"))
    expected = {
        'vllm:healthy_pods_total{server="http://a:1"}': "1.0",
        'vllm:healthy_pods_total{server="http://b:1"}': "0.0",
        'vllm:current_qps{server="http://a:1"}': "12.0",
        'vllm:current_qps{server="http://b:1"}': "0.7",
        'vllm:num_prefill_requests{server="http://a:1"}': "2.0",
        'vllm:num_prefill_requests{server="http://b:1"}': "0.0",
        'vllm:num_decoding_requests{server="http://a:1"}': "3.0",
        'vllm:num_decoding_requests{server="http://b:1"}': "0.0",
        'vllm:num_incoming_requests_total{model="tiny"}': "127.0",
    }
    if has_engines_names:
        expected |= {
            'vllm:num_requests_running{server="http://a:1"}': "5.0",
            'vllm:num_requests_running{server="http://b:1"}': "0.0",
        }
    assert told == expected
    rows.append(msgspec.structs.replace(BUSY, is_up=False, num_received=12))  # which leaves, at the same URL
    told = dict(line.split() for line in generate_latest(registry).decode().splitlines() if line[0] != "#")
    assert told['vllm:num_decoding_requests{server="http://a:1"}'] == "6.0"
    assert told['vllm:healthy_pods_total{server="http://a:1"}'] == "1.0"
    rows.remove(LOST)
    assert "http://b:1" not in generate_latest(registry).decode()


def test_a_rate_is_of_the_last_minute() -> None:
    rate = RecentRate()
    assert rate.observe(1000, 0.0) == 0.0
    assert rate.observe(1060, 30.0) == 2.0
    assert rate.observe(1060, 60.0) == 1.0  # since 0 s
    assert rate.observe(1120, 90.0) == 1.0  # since 30 s
    assert rate.observe(1120, 90.0) == 1.0  # a second look in the same instant
    assert rate.observe(1120, 1000.0) == 0.0  # since the look before


def test_a_server_that_leaves_and_joins_again_has_no_rate_below_nothing() -> None:
    rate = RecentRate()
    rate.observe(1000, 0.0)
    assert rate.observe(5, 10.0) == 0.0
    assert rate.observe(25, 20.0) == 2.0
