"""Whom a request is sent to when somebody fails, and when it is given up."""

import asyncio
import json
from typing import Any

import pytest

from octavo.router import recovery
from octavo.router.breaker import NUM_FAILURES, CircuitBreaker
from octavo.router.delivery import DeliveryLimits
from octavo.router.endpoints import OnDemandModels
from octavo.router.health import NO_SECRET, EndpointProbe, HealthLimits
from octavo.router.prefix_index import TOKENS_PER_CHUNK
from octavo.router.routed_request import RequestReader
from octavo.router.waiting_room import QueueLimits
from tests.router import fake_server
from tests.router.fake_server import EVENTS, FakeServer, Received, fake_servers
from tests.router.routed import Routed, routed

pytestmark = pytest.mark.asyncio

SHORT = DeliveryLimits(first_token=0.5, inter_token=0.5, total=20.0)  # those who do answer have to keep it
TINY = frozenset(("tiny",))
HASTY = HealthLimits(timeout_seconds=0.1, num_failures=2)  # for a server that says nothing


def num_asked(servers: list[FakeServer]) -> int:
    return sum(len(server.received) for server in servers)


@pytest.mark.parametrize(
    "behaviour",
    (
        fake_server.cut,
        fake_server.cut_in_mid_body,
        fake_server.garbage,
        fake_server.status(500),
        fake_server.status(503),
        fake_server.status(429),
    ),
)
async def test_before_the_first_byte_another_endpoint_takes_over(behaviour: Any) -> None:
    async with fake_servers(2) as servers, routed([s.url for s in servers]) as router:
        servers[0].behaviour = behaviour
        for _ in range(2):
            response = await router.ask()
            assert (response.status_code, response.content) == (200, b'{ "whole":   "answer" }')
        assert servers[0].received and len(servers[1].received) == 2
        assert all(endpoint.load.num_tokens == 0 for endpoint in router.endpoints)


async def test_an_endpoint_that_is_gone_is_passed_over() -> None:
    async with fake_servers(2) as servers, routed([s.url for s in servers]) as router:
        await servers[0].stop()
        assert [(await router.ask()).status_code for _ in range(4)] == [200] * 4
        assert router.sample("octavo:router_failovers_total", reason="connect", outcome="answered") >= 1


@pytest.mark.parametrize("is_stream", (True, False))
async def test_an_endpoint_that_is_lost_loses_what_waits_there(is_stream: bool) -> None:
    async with fake_servers(2) as servers, routed([s.url for s in servers]) as router:
        servers[0].behaviour = fake_server.stall
        asking = [asyncio.create_task(router.ask(stream=is_stream)) for _ in range(2)]
        await servers[0].arrived.wait()
        servers[0].is_silent = True
        probe = EndpointProbe(router.endpoints[0], [], HASTY, lambda endpoint, state: None)
        for _ in range(HASTY.num_failures):
            await probe.run()
        assert [(await task).status_code for task in asking] == [200, 200]
        assert router.sample("octavo:router_failovers_total", reason="gone", outcome="answered") == 1


async def test_a_stream_that_does_not_begin_goes_elsewhere() -> None:
    async with fake_servers(2) as servers, routed([s.url for s in servers], limits=SHORT) as router:
        servers[0].behaviour = fake_server.stall
        for _ in range(2):
            assert (await router.ask(stream=True)).content == b"".join(EVENTS)


async def test_a_clients_own_mistake_is_not_retried() -> None:
    async with fake_servers(2) as servers, routed([s.url for s in servers]) as router:
        for server in servers:
            server.behaviour = fake_server.status(400)
        assert (await router.ask()).status_code == 400
        assert num_asked(servers) == 1
        assert all(endpoint.breaker.is_passable for endpoint in router.endpoints)


async def test_when_all_refuse_the_client_gets_the_last_refusal() -> None:
    async with fake_servers(3) as servers, routed([s.url for s in servers]) as router:
        for server in servers:
            server.behaviour = fake_server.status(503, retry_after="7")
        response = await router.ask()
        assert (response.status_code, response.headers["retry-after"]) == (503, "7")
        assert num_asked(servers) == 3


async def test_a_poisoned_request_stops_at_its_second_endpoint() -> None:
    async with fake_servers(4) as servers, routed([s.url for s in servers]) as router:
        for server in servers:
            server.behaviour = fake_server.cut
        response = await router.ask()
        assert (response.status_code, response.json()["error"]["code"]) == (502, "request_failed_repeatedly")
        assert num_asked(servers) == 2


@pytest.mark.parametrize(
    "behaviour", (fake_server.cut_in_mid_stream, fake_server.stall_in_mid_stream), ids=("cut", "stall")
)
async def test_a_foreign_stream_that_breaks_off_says_so(behaviour: Any) -> None:
    async with fake_servers(2) as servers, routed([s.url for s in servers], limits=SHORT) as router:
        for server in servers:
            server.behaviour = behaviour
        response = await router.ask(stream=True)
        assert response.content.startswith(b"".join(EVENTS[:2]))
        assert b'"code":"endpoint_broke_off"' in response.content and b"[DONE]" not in response.content
        assert f"It cannot go on elsewhere: {NO_SECRET}." in response.text
        assert num_asked(servers) == 1
    (line,) = map(json.loads, router.log.getvalue().splitlines())
    assert (line["status"], line["error"]) == (200, "endpoint_broke_off")


async def test_failures_in_a_row_eject_an_endpoint() -> None:
    async with fake_servers(2) as servers, routed([s.url for s in servers]) as router:
        servers[0].behaviour = fake_server.status(500)
        for _ in range(12):
            assert (await router.ask()).status_code == 200
        assert len(servers[0].received) == 3
        assert router.sample("octavo:router_ejections_total", endpoint="r0") == 1


async def test_a_stream_that_tries_an_ejected_endpoint_keeps_others_away_until_its_first_token() -> None:
    async with fake_servers(2) as servers, routed([s.url for s in servers]) as router:
        breaker = router.endpoints[0].breaker = CircuitBreaker(open_seconds=0.0)
        for _ in range(NUM_FAILURES):
            breaker.fail()
        servers[0].behaviour = fake_server.stall_in_mid_stream
        body = {"model": "tiny", "prompt": "hi", "stream": True}
        async with router.client.stream("POST", "/v1/completions", json=body) as trial:
            assert trial.headers["x-octavo-route"].startswith("endpoint=r0;")
            servers[0].behaviour = fake_server.answer
            for _ in range(2):
                assert (await router.ask()).status_code == 200
            assert [len(server.received) for server in servers] == [2, 1]


async def test_when_every_breaker_is_open_somebody_is_asked_all_the_same() -> None:
    async with fake_servers(1) as (server,), routed([server.url]) as router:
        server.behaviour = fake_server.status(500)
        for _ in range(4):
            await router.ask()
        server.behaviour = fake_server.answer
        assert not router.endpoints[0].breaker.is_passable
        assert (await router.ask()).status_code == 200


async def test_retries_have_a_budget() -> None:
    async with fake_servers(2) as servers, routed([s.url for s in servers]) as router:
        for server in servers:
            server.behaviour = fake_server.status(503)
        for _ in range(60):
            await router.ask()
        assert num_asked(servers) < 60 + 20 + 60 * 0.2 + 1


async def test_the_first_request_for_a_model_waits_until_it_has_been_started() -> None:
    on_demand, queue = OnDemandModels(TINY, start_seconds=30.0), QueueLimits(max_requests=1)
    async with fake_servers(1) as (server,), routed([server.url], on_demand=on_demand, queue=queue) as router:
        await server.stop()
        await router.look()
        await router.look()
        assert not router.endpoints[0].is_ready
        assert (await router.client.get("/readyz")).status_code == 200
        asking = asyncio.create_task(router.ask())
        while not router.router.room.num_waiting:
            await asyncio.sleep(0.005)
        (row,) = (await router.client.get("/debug/endpoints")).json()
        assert (row["waiting"], row["received"], row["ready"]) == (1, 0, False)
        refused = await router.ask()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "server_overloaded")
        await server.start()
        await router.look()
        assert (await asking).status_code == 200
        assert router.router.room.num_waiting == 0
        (row,) = (await router.client.get("/debug/endpoints")).json()
        assert (row["waiting"], row["received"]) == (0, 1)
        assert router.sample("octavo:router_overhead_seconds_count") == 0  # waiting is no overhead


async def test_a_model_that_is_not_started_in_time_is_said() -> None:
    on_demand = OnDemandModels(TINY, start_seconds=0.05)
    async with fake_servers(1) as (server,), routed([server.url], on_demand=on_demand) as router:
        server.is_ready = False
        await router.look()
        response = await router.ask()
        assert response.status_code == 503
        assert "tiny was not started within 0.05 s (r0: " in response.json()["error"]["message"]


async def test_a_request_that_met_its_model_about_to_be_stopped_waits_for_the_next_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recovery, "RETRY_SECONDS", 0.01)
    on_demand = OnDemandModels(TINY, start_seconds=30.0)
    async with fake_servers(1) as (server,), routed([server.url], on_demand=on_demand) as router:
        await server.stop()
        asking = asyncio.create_task(router.ask())
        while router.sample("octavo:router_failovers_total", reason="connect", outcome="failed again") <= 6:
            await asyncio.sleep(0.005)
        await server.start()
        assert (await asking).status_code == 200


async def test_a_standby_takes_over_at_once() -> None:
    async with fake_servers(2) as servers, routed([s.url for s in servers]) as router:
        router.endpoints[1].is_standby = True
        assert [(await router.ask()).status_code for _ in range(3)] == [200] * 3
        assert not servers[1].received
        await servers[0].stop()
        assert (await router.ask()).status_code == 200
        assert len(servers[1].received) == 1


async def answered(router: Routed, **fields: Any) -> dict[str, Any]:
    response = await router.ask(**{"stream": True, **fields})
    explained = await router.client.get(f"/debug/route/{response.headers['x-request-id']}")
    return {"header": response.headers["x-octavo-route"], **explained.json()}


async def test_a_decision_is_explained() -> None:
    async with fake_servers(2) as servers, routed([s.url for s in servers]) as router:
        servers[0].behaviour = fake_server.cut
        found = [await answered(router) for _ in range(2)]
    decision = max(found, key=lambda decision: len(decision["attempts"]))
    first, second = decision["attempts"]
    assert (first["endpoint"], first["outcome"]) == ("r0", "cut")
    assert (second["endpoint"], second["outcome"]) == ("r1", "answered")
    assert [score["endpoint"] for score in first["scores"]] == ["r0", "r1"]
    assert decision["header"] == "endpoint=r1; policy=round-robin; candidates=1; cached=0; attempt=2"


@pytest.mark.parametrize("cached", (5, 0, None))
async def test_what_a_whole_answer_says_of_the_cache_is_compared_with_what_was_expected(
    cached: int | None,
) -> None:
    body = json.dumps({"usage": {"prompt_tokens_details": {"cached_tokens": cached}}}).encode()

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        fake_server.respond(writer, 200, body)
        await writer.drain()

    async with fake_servers(1) as (server,), routed([server.url], policy="cost") as router:
        server.behaviour = behave
        for _ in range(2):  # on a connection that is made for it, and on one that is idle
            (attempt,) = (await answered(router, stream=False))["attempts"]
            assert attempt["num_cached_actual"] == cached and attempt["first_token_seconds"] is None
        told = router.sample("octavo:router_actual_cached_tokens_total", policy="cost")
    assert told == 2 * (cached or 0)


async def test_an_answer_that_came_whole_has_had_its_prompt_computed() -> None:
    async with fake_servers(1) as (server,), routed([server.url], policy="cost") as router:
        prompt = "It was asked before. " * 40
        await router.ask(prompt=prompt)
        body = json.dumps({"model": "tiny", "prompt": prompt}).encode()
        request = RequestReader().read(body, id="id", path="/v1/completions")
        found = router.knowledge.prefixes.find(router.endpoints[0], request)
        assert found == (3 * TOKENS_PER_CHUNK, 0)  # cached, and nothing of it pending
