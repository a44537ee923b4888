import random
from typing import Any

import pytest

from octavo.config import ROUTING_POLICIES
from octavo.core.errors import InvalidRequestError, ModelNotFoundError, OverloadedError
from octavo.metrics.router_metrics import RouterMetrics
from octavo.router.endpoints import Endpoint, EndpointSet
from octavo.router.knowledge import Knowledge
from octavo.router.routing import Router, all_policies
from octavo.router.waiting_room import QueueLimits, WaitingRoom
from tests.router.policies.some import request
from tests.router.test_endpoints import ready


def router_of(endpoints: list[Endpoint], **options: Any) -> Router:
    knowledge = Knowledge()
    return Router(
        EndpointSet(endpoints),
        all_policies(knowledge),
        "round-robin",
        retry_after_seconds=3,
        knowledge=knowledge,
        room=WaitingRoom(QueueLimits(), RouterMetrics()),
        lots=random.Random(0),
        **options,
    )


def test_the_policies_are_those_the_options_name() -> None:
    assert tuple(all_policies(Knowledge())) == ROUTING_POLICIES


@pytest.mark.parametrize("name", ROUTING_POLICIES)
def test_a_policy_that_looks_at_caches_says_what_is_cached_and_no_other_does(name: str) -> None:
    knowledge = Knowledge()
    policy = all_policies(knowledge)[name]
    (endpoint,) = ready(1)
    wanted = request(prefix=(1, 2, 3), num_prompt_tokens=1000)
    knowledge.prefixes.sent(endpoint, wanted)
    knowledge.prefixes.computed(endpoint, wanted)
    (score,) = policy.score([endpoint], wanted)
    assert (score.num_cached_tokens > 0) == policy.looks_at_caches


def test_who_was_tried_is_not_asked_again() -> None:
    endpoints = ready(2)
    router = router_of(endpoints)
    first = router.route(request())
    assert first is not None
    second = router.route(request(), tried={first.endpoint})
    assert second is not None and {first.endpoint, second.endpoint} == set(endpoints)
    assert router.route(request(), tried=set(endpoints)) is None


def test_who_does_not_fit_is_not_asked() -> None:
    endpoints = ready(2)
    route = router_of(endpoints).route(request(), is_fit=lambda endpoint: endpoint is endpoints[1])
    assert route is not None and route.endpoint is endpoints[1] and len(route.scores) == 1


def test_a_request_may_choose_its_policy() -> None:
    router = router_of(ready(1))
    assert router.open(request(policy="least-load")).policy == "least-load"
    with pytest.raises(InvalidRequestError, match="'luck'; allowed: round-robin"):
        router.open(request(policy="luck"))


def test_nobody_to_ask_has_its_reasons() -> None:
    (endpoint,) = endpoints = ready(1)
    router = router_of(endpoints)
    assert isinstance(router.nobody(request(model="other")), ModelNotFoundError)
    endpoint.is_ready, endpoint.complaint = False, "it loads"
    error = router.nobody(request())
    assert isinstance(error, OverloadedError) and error.retry_after_seconds == 3
    assert "r0: it loads" in str(error)
    assert "there is none" in str(router_of([]).nobody(request()))


def test_first_tokens_teach_the_policies_that_go_by_time() -> None:
    slow, quick = endpoints = ready(2)
    router = router_of(endpoints)
    wanted = request(policy="cost", is_stream=True)
    for _ in range(40):
        for endpoint, seconds in ((slow, 3.0), (quick, 0.1)):
            route = router.route(wanted, is_fit=lambda one, endpoint=endpoint: one is endpoint)
            assert route is not None
            router.observe_first_token(route, wanted, seconds)
    assert {router.route(wanted).endpoint for _ in range(20)} == {quick}


def test_requests_are_counted_by_models_that_are_known() -> None:
    (endpoint,) = endpoints = ready(1)
    router = router_of(endpoints)
    known = next(iter(endpoint.cards))
    for model in (known, known, "nobody has it"):
        router.open(request(model=model))
    assert router.num_incoming == {known: 2}
    endpoint.cards = {}
    router.open(request(model=known))
    assert router.num_incoming == {known: 3}


def test_a_model_may_have_a_policy_of_its_own_and_a_request_too() -> None:
    endpoints = ready(1)
    model = next(iter(endpoints[0].cards))
    router = router_of(endpoints, model_policies={model: "least-load"})
    assert router.open(request(model=model)).policy == "least-load"
    assert router.open(request(model=model, policy="cost")).policy == "cost"
    assert router.open(request(model="another")).policy == "round-robin"
