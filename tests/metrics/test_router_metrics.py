from octavo.metrics.router_metrics import RouterMetrics


def test_an_endpoint_that_is_gone_leaves_no_series() -> None:
    metrics = RouterMetrics()
    metrics.observe_decision("cost", "r0", 5)
    metrics.observe_decision("cost", "r1", 5)
    metrics.observe_ejection("r0")
    metrics.observe_change("r0", "lost")
    metrics.observe_known_answer("r0", "right")
    metrics.observe_endpoint("r0", is_up=True, num_requests=1, num_tokens=2)
    metrics.observe_endpoint("r1", is_up=True, num_requests=1, num_tokens=2)
    metrics.forget_endpoint("r0")
    metrics.forget_endpoint("never seen")
    text = metrics.render().decode()
    assert 'octavo:router_endpoint_up{endpoint="r1"} 1.0' in text
    assert 'octavo:router_decisions_total{endpoint="r1",policy="cost"} 1.0' in text
    assert 'endpoint="r0"' not in text
    metrics.observe_decision("cost", "r0", 5)  # it is back
    assert 'octavo:router_decisions_total{endpoint="r0",policy="cost"} 1.0' in metrics.render().decode()
