"""What can happen to a request on its way: the client leaves, the engine fails, the server drains."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from octavo.core.errors import EngineError
from octavo.core.request import FinishReason
from tests.fakes import FakeEngine, send
from tests.server.serving import serving

pytestmark = pytest.mark.asyncio

PATH = "/v1/completions"


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "prompt": "hi", **fields}


async def raw_request(url: str, fields: dict[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    content = json.dumps(fields).encode()
    lines = (f"POST {PATH} HTTP/1.1", "Host: x", "Content-Type: application/json")
    writer.write("\r\n".join((*lines, f"Content-Length: {len(content)}", "", "")).encode() + content)
    return reader, writer


@pytest.mark.parametrize("is_streamed", (True, False), ids=("streamed", "whole"))
@pytest.mark.parametrize("num_tokens", (0, 1), ids=("queued", "running"))
async def test_a_client_that_leaves_frees_the_engine(is_streamed: bool, num_tokens: int) -> None:
    engine = FakeEngine(None)
    async with serving(engine) as (replica, url):
        reader, writer = await raw_request(url, body(stream=is_streamed))
        await engine.arrived.wait()
        if num_tokens:
            send(engine.streams[0], b"x")
            if is_streamed:
                await reader.readuntil(b'"text":"x"')
        writer.close()
        await asyncio.wait_for(engine.abort_seen.wait(), 5)
        assert engine.aborted == [engine.submitted[0].request_id]
    (entry,) = [json.loads(line) for line in replica.log.getvalue().splitlines()]
    assert entry["finish_reason"] == "abort"
    assert entry["status"] == 499


async def test_the_first_token_leaves_at_once() -> None:
    engine = FakeEngine(None)
    async with serving(engine) as (_, url):
        reader, writer = await raw_request(url, body(stream=True))
        await engine.arrived.wait()
        send(engine.streams[0], b"x")
        assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b'"text":"x"'), 5)
        writer.close()


async def test_what_gathers_while_the_client_is_slow_leaves_as_one() -> None:
    engine = FakeEngine(b"gathered")
    async with serving(engine) as (_, url), httpx2.AsyncClient() as client:
        response = await client.post(url + PATH, json=body(stream=True))
    assert response.text.count("data: ") == 3  # the text, the end, [DONE]


@pytest.mark.parametrize("is_streamed", (True, False), ids=("streamed", "whole"))
async def test_a_failure_before_the_first_token_has_a_status(is_streamed: bool) -> None:
    engine = FakeEngine(None)
    async with serving(engine) as (replica, url), httpx2.AsyncClient() as client:
        asking = asyncio.create_task(client.post(url + PATH, json=body(stream=is_streamed)))
        await engine.arrived.wait()
        engine.streams[0].fail(EngineError("It was set aside."))
        response = await asking
    assert response.status_code == 500
    assert response.headers["x-should-retry"] == "false"
    error = {"message": "It was set aside.", "type": "server_error", "param": None, "code": "engine_error"}
    assert response.json() == {"error": error}
    assert 'finished_reason="error",model_name="tiny"} 1.0' in replica.metrics.render().decode()


async def test_a_failure_in_mid_stream_is_said_in_the_stream() -> None:
    engine = FakeEngine(None)
    async with serving(engine) as (_, url):
        reader, writer = await raw_request(url, body(stream=True))
        await engine.arrived.wait()
        send(engine.streams[0], b"x")
        await reader.readuntil(b'"text":"x"')
        engine.streams[0].fail(EngineError("It was set aside."))
        rest = await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 5)
        writer.close()
    assert b'data: {"error":{"message":"It was set aside.","type":"server_error"' in rest
    assert b"[DONE]" not in rest


async def test_one_failed_choice_ends_them_all() -> None:
    engine = FakeEngine(None)
    async with serving(engine) as (_, url), httpx2.AsyncClient() as client:
        asking = asyncio.create_task(client.post(url + PATH, json=body(prompt=["a", "b"])))
        await engine.arrived.wait()
        engine.streams[1].fail(EngineError("It was set aside."))
        response = await asking
    assert response.status_code == 500
    assert engine.aborted == [engine.submitted[0].request_id]


async def test_an_engine_that_ends_a_request_unasked_is_an_error() -> None:
    engine = FakeEngine(None)
    async with serving(engine) as (_, url), httpx2.AsyncClient() as client:
        asking = asyncio.create_task(client.post(url + PATH, json=body()))
        await engine.arrived.wait()
        send(engine.streams[0], b"x", FinishReason.ABORT)
        response = await asking
    assert response.json()["error"]["code"] == "engine_error"


async def test_a_draining_server_refuses_and_finishes() -> None:
    engine = FakeEngine(None)
    async with serving(engine) as (replica, url), httpx2.AsyncClient() as client:
        running = asyncio.create_task(client.post(url + PATH, json=body()))
        await engine.arrived.wait()
        replica.drain.begin()
        refused = await client.post(url + PATH, json=body())
        send(engine.streams[0], b"bye", FinishReason.STOP)
        finished = await running
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
    assert refused.headers["retry-after"] and refused.headers["connection"] == "close"
    assert finished.json()["choices"][0]["text"] == "bye"


async def test_a_request_cut_off_by_the_end_of_the_server_is_told_so() -> None:
    engine = FakeEngine(None)
    async with serving(engine) as (replica, url), httpx2.AsyncClient() as client:
        running = asyncio.create_task(client.post(url + PATH, json=body()))
        await engine.arrived.wait()
        replica.drain.begin()
        engine.streams[0].fail(EngineError("The server is shutting down."))
        response = await running
    assert (response.status_code, response.json()["error"]["code"]) == (503, "shutting_down")
