from octavo.metrics.router_metrics import RouterMetrics


def test_gauges_of_an_endpoint_that_is_gone_are_gone_and_its_counters_stay() -> None:
    metrics = RouterMetrics()
    metrics.observe_decision("cost", "r0", 5)
    metrics.observe_endpoint("r0", is_up=True, num_requests=1, num_tokens=2)
    metrics.observe_endpoint("r1", is_up=True, num_requests=1, num_tokens=2)
    metrics.forget_endpoint("r0")
    metrics.forget_endpoint("never seen")
    text = metrics.render().decode()
    assert 'octavo:router_endpoint_up{endpoint="r1"} 1.0' in text
    assert 'octavo:router_endpoint_up{endpoint="r0"}' not in text
    assert 'octavo:router_decisions_total{endpoint="r0",policy="cost"} 1.0' in text
