"""The page says of each endpoint what it is and whether it is asked; names of others stay text."""

import re

from octavo.router.breaker import NUM_FAILURES
from octavo.router.endpoints import Endpoint, EndpointSet
from octavo.router.overview import overview


def shown(*endpoints: Endpoint) -> str:
    return overview(EndpointSet(endpoints), ["/v1/completions"])


def test_each_endpoint_has_its_state() -> None:
    good, bad, gone = (Endpoint("http://a:1", name=name, static_models=["m"]) for name in ("x", "y", "z"))
    good.is_ready = bad.is_ready = True
    gone.complaint = "connection refused"
    for _ in range(NUM_FAILURES):
        bad.breaker.fail()
    text = shown(good, bad, gone)
    states = re.findall(r"<tr><td>(\w)</td><td>http://a:1</td><td>([^<]*)</td><td>m</td>", text)
    assert states == [("x", "ready"), ("y", "ready, but its breaker is open"), ("z", "connection refused")]
    assert "2 of 3 endpoints ready" in text and "POST /v1/completions" in text
    assert "{&quot;model&quot;: &quot;m&quot;" in text


def test_before_anybody_is_ready_it_says_so() -> None:
    text = shown(Endpoint("http://a:1", name="x"))
    assert "0 of 1 endpoint ready" in text and "none yet" in text and "MODEL" in text


def test_names_cannot_become_markup_and_nothing_is_loaded() -> None:
    endpoint = Endpoint("http://a:1", name="<b>", static_models=["<script>"])
    endpoint.is_ready = True
    text = shown(endpoint)
    assert "<b>" not in text and "<script" not in text and "src=" not in text
