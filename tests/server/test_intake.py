"""What ends a request before its time: its client leaves, the server drains, the engine is gone."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from octavo.core.errors import EngineError
from octavo.core.request import FinishReason
from tests.fakes import FakeEngine, send
from tests.server.raw_client import request
from tests.server.serving import serving

pytestmark = pytest.mark.asyncio

PATH = "/v1/completions"


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "prompt": "hi", **fields}


@pytest.mark.parametrize("is_streamed", (True, False), ids=("streamed", "whole"))
@pytest.mark.parametrize("num_tokens", (0, 1), ids=("queued", "running"))
async def test_a_client_that_leaves_frees_the_engine(is_streamed: bool, num_tokens: int) -> None:
    engine = FakeEngine(None)
    async with serving(engine) as (replica, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(request(PATH, json.dumps(body(stream=is_streamed)).encode()))
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


async def test_an_engine_that_is_gone_for_good_is_no_fault_of_the_request() -> None:
    engine = FakeEngine(None)
    async with serving(engine) as (_, url), httpx2.AsyncClient() as client:
        asking = asyncio.create_task(client.post(url + PATH, json=body()))
        await engine.arrived.wait()
        engine.fatal.set_result("The engine failed 5 times in a row.")
        engine.streams[0].fail(EngineError("The engine failed 5 times in a row."))
        response = await asking
    assert (response.status_code, response.headers["x-should-retry"]) == (503, "true")
    assert response.json()["error"]["message"] == "The engine failed 5 times in a row."


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
