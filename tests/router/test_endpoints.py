import asyncio

import pytest

from octavo.router.aliases import Aliases
from octavo.router.breaker import NUM_FAILURES
from octavo.router.endpoints import Endpoint, EndpointSet, OnDemandModels
from octavo.router.load import ANSWERING_TOKENS
from octavo.router.upstream_connection import UpstreamError


def ready(count: int, model: str = "m") -> list[Endpoint]:
    endpoints = [
        Endpoint(f"http://h{number}:1", name=f"r{number}", static_models=(model,)) for number in range(count)
    ]
    for endpoint in endpoints:
        endpoint.is_ready = True
    return endpoints


def test_load_is_given_back_whatever_happens() -> None:
    (endpoint,) = ready(1)
    with pytest.raises(RuntimeError), endpoint.reserved(100) as reservation:
        assert endpoint.load.num_tokens == 100 + ANSWERING_TOKENS
        reservation.first_token()
        reservation.first_token()
        assert endpoint.load.num_tokens == ANSWERING_TOKENS
        raise RuntimeError
    assert endpoint.load.num_tokens == endpoint.load.num_requests == 0


def test_candidates_are_ready_not_draining_and_not_broken() -> None:
    one, two, three, four = ready(4)
    two.is_ready, three.is_draining = False, True
    for _ in range(NUM_FAILURES):
        four.breaker.fail()
    fleet = EndpointSet([one, two, three, four])
    assert fleet.candidates("m") == [one]
    assert fleet.candidates("other") == []
    assert fleet.candidates("m", lambda endpoint: endpoint is four) == [four]


def test_a_standby_is_asked_in_place_of_each_that_cannot_be() -> None:
    one, two, standby, other = ready(4)
    standby.is_standby = other.is_standby = True
    fleet = EndpointSet([standby, one, two, other])
    assert fleet.candidates("m") == [one, two]
    two.is_ready = False
    assert fleet.candidates("m") == [one, standby]
    assert fleet.candidates("m", lambda endpoint: endpoint is not one) == [standby, other]
    two.is_ready, standby.is_ready = True, False
    for _ in range(NUM_FAILURES):
        one.breaker.fail()
    assert fleet.candidates("m") == [two, other]
    other.is_ready = False
    assert fleet.candidates("m") == [two]


def test_a_model_that_is_started_on_demand_is_always_there() -> None:
    (one,) = ready(1, "a")
    one.is_ready = False
    assert EndpointSet([one]).models == {}
    on_demand = OnDemandModels(frozenset(("a",)))
    assert list(EndpointSet([one], Aliases({"nick": {"a": 1}}), on_demand).models) == ["a", "nick"]


def test_models_are_merged_with_aliases() -> None:
    (one,), (two,) = ready(1, "a"), ready(1, "b")
    fleet = EndpointSet([one, two], Aliases({"nick": {"b": 1}, "b": {"a": 1}, "gone": {"none": 1}}))
    assert list(fleet.models) == ["a", "b", "nick"]
    assert fleet.models["nick"]["root"] == "b"
    two.is_ready = False
    assert "nick" not in fleet.models


def test_what_ends_a_lifeline_says_why() -> None:
    (endpoint,) = ready(1)

    async def scenario() -> None:
        with endpoint.lifeline():
            asyncio.get_running_loop().call_soon(endpoint.lose, "it burns")
            await asyncio.Event().wait()

    with pytest.raises(UpstreamError, match="it burns"):
        asyncio.run(scenario())


def test_other_timeouts_stay_what_they_are() -> None:
    (endpoint,) = ready(1)

    async def scenario() -> None:
        with endpoint.lifeline():
            raise TimeoutError

    with pytest.raises(TimeoutError):
        asyncio.run(scenario())
