"""The path of a request through the router: bytes, headers, clients that leave, and the end of the router."""

import asyncio
import json

import pytest

from octavo.router.delivery import DeliveryLimits
from tests.router import fake_server
from tests.router.fake_server import EVENTS, fake_servers
from tests.router.routed import routed

pytestmark = pytest.mark.asyncio


async def test_bytes_pass_unchanged_both_ways() -> None:
    body = b'{ "model":"tiny",\n "prompt" : "h\\u0069", "own": [1.50] }'
    async with fake_servers(1) as (server,), routed([server.url]) as router:
        headers = {"content-type": "application/json", "authorization": "Bearer k", "x-octavo-secret": "s"}
        response = await router.client.post("/v1/chat/completions", content=body, headers=headers)
        assert response.content == b'{ "whole":   "answer" }'
        (received,) = server.received
        assert (received.path, received.body) == ("/v1/chat/completions", body)
        assert received.headers["authorization"] == "Bearer k"
        assert "x-octavo-secret" not in received.headers
        assert received.headers["x-request-id"] == response.headers["x-request-id"]


async def test_a_stream_passes_unchanged_and_as_it_comes() -> None:
    async with fake_servers(1) as (server,), routed([server.url]) as router:
        gate = asyncio.Event()

        async def behave(request: object, writer: asyncio.StreamWriter) -> None:
            await fake_server.stream(writer, EVENTS[:1])
            await gate.wait()
            for event in EVENTS[1:]:
                writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            writer.write(b"0\r\n\r\n")
            await writer.drain()

        server.behaviour = behave
        body = {"model": "tiny", "stream": True}
        async with router.client.stream("POST", "/v1/completions", json=body) as response:
            pieces = response.aiter_raw()
            assert await anext(pieces) == EVENTS[0]
            gate.set()
            assert b"".join([piece async for piece in pieces]) == b"".join(EVENTS[1:])
        assert response.headers["x-engine"] == "fake"
        assert response.headers["content-type"] == "text/event-stream"


async def test_a_client_that_leaves_frees_the_endpoint_and_blames_nobody() -> None:
    async with fake_servers(1) as (server,), routed([server.url]) as router:
        server.behaviour = fake_server.stall
        asking = asyncio.create_task(router.ask())
        await server.arrived.wait()
        assert router.endpoints[0].load.num_requests == 1
        asking.cancel()
        while router.proxy.num_running:
            await asyncio.sleep(0.01)
        assert router.endpoints[0].load.num_tokens == 0 and router.endpoints[0].breaker.state == "closed"
        assert json.loads(router.log.getvalue())["status"] == 499


async def test_an_answer_has_a_total_time() -> None:
    limits = DeliveryLimits(first_token=5, inter_token=5, total=0.1)
    async with fake_servers(1) as (server,), routed([server.url], limits=limits) as router:

        async def behave(request: object, writer: asyncio.StreamWriter) -> None:
            await fake_server.stream(writer, EVENTS[:1])
            while True:
                writer.write(b"%x\r\n%b\r\n" % (len(EVENTS[1]), EVENTS[1]))
                await writer.drain()
                await asyncio.sleep(0.02)

        server.behaviour = behave
        response = await router.ask(stream=True)
        assert b'"code":"answer_timeout"' in response.content


async def test_a_body_that_is_too_long_or_no_json_never_leaves() -> None:
    async with fake_servers(1) as (server,), routed([server.url]) as router:
        assert (await router.ask(prompt="x" * 70_000)).status_code == 413
        assert (await router.client.post("/v1/completions", content=b"hi")).status_code == 415
        assert (await router.client.post("/v1/completions", json={})).status_code == 400
        assert (await router.client.post("/v1/completions", json={"model": "none"})).status_code == 404
        unknown = await router.client.post(
            "/v1/completions", json={"model": "tiny"}, headers={"x-octavo-policy": "luck"}
        )
        assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "x-octavo-policy")
        assert not server.received


async def test_draining_ends_when_the_last_answer_has() -> None:
    async with fake_servers(1) as (server,), routed([server.url]) as router:
        server.behaviour = fake_server.stall
        asking = asyncio.create_task(router.ask())
        await server.arrived.wait()
        draining = asyncio.create_task(router.proxy.drain(10.0))
        await asyncio.sleep(0)
        refused = await router.ask()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert (
            refused.headers["connection"] == "close"
        )  # for the client to find another router by the next one
        assert (await router.client.get("/readyz")).status_code == 503
        assert not draining.done()
        router.proxy.cut_off()
        response = await asking
        assert response.status_code == 503 and "shutting down" in response.text
        await draining


async def test_draining_does_not_wait_for_ever() -> None:
    async with fake_servers(1) as (server,), routed([server.url]) as router:
        server.behaviour = fake_server.stall
        asking = asyncio.create_task(router.ask())
        await server.arrived.wait()
        await router.proxy.drain(0.01)
        assert router.proxy.num_running == 1
        asking.cancel()


async def test_a_defect_of_ours_is_an_error_to_the_client_and_stands_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(request: object) -> None:
        raise ZeroDivisionError("a defect")

    async with fake_servers(1) as (server,), routed([server.url]) as router:
        monkeypatch.setattr(router.router, "open", fail)
        response = await router.ask()
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert "ZeroDivisionError: a defect" in caplog.text and "defect" not in response.text
