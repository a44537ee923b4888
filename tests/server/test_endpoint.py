"""What can happen to a request on its way: the client leaves, the engine fails, the server drains."""

import asyncio
import json
import pathlib
import re
from typing import Any

import httpx2
import openai
import pytest
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from octavo.core.errors import EngineError
from octavo.core.request import FinishReason
from octavo.http.api_keys import ApiKey, KeyLimits
from octavo.http.connection import ConnectionLimits
from octavo.http.key_ring import KeyRing
from tests.fakes import MAX_MODEL_LEN, FakeEngine, PacedEngine, fake_replica, send
from tests.over_socket import over_socket
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


async def test_the_first_token_leaves_at_once() -> None:
    engine = FakeEngine(None)
    async with serving(engine) as (_, url):
        reader, writer = await raw_request(url, body(stream=True))
        await engine.arrived.wait()
        send(engine.streams[0], b"x")
        assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b'"text":"x"'), 5)
        writer.close()


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        (PATH, {"prompt": "hi"}, 503),
        (PATH, {"prompt": "hi", "n": 1000}, 400),
        (PATH, {"prompt": "hi", "max_tokens": MAX_MODEL_LEN}, 400),
        ("/v1/embeddings", {"input": ["hi", "there"]}, 503),
    ],
)
async def test_a_prompt_that_is_not_admitted_costs_its_key_nothing(
    path: str, fields: dict[str, Any], status: int, tmp_path: pathlib.Path
) -> None:
    """A client library would ask again, each time at the same price."""
    keys = tmp_path / "keys"
    keys.write_text(ApiKey.of("key", "a", KeyLimits(tokens_per_minute=600)).line)
    engine = FakeEngine()
    async with (
        serving(engine, key_ring=KeyRing.of(None, keys)) as (_, url),
        httpx2.AsyncClient(base_url=url, headers={"api-key": "key"}) as client,
    ):
        engine.is_full = True
        refused = await client.post(path, json={"model": "tiny", **fields})
        assert (refused.status_code, refused.headers["x-ratelimit-remaining-tokens"]) == (status, "600")


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


async def test_a_stream_that_waits_gives_signs_of_life_until_its_first_token() -> None:
    engine = FakeEngine(None)
    async with serving(engine, heartbeat_seconds=0.01) as (_, url):
        reader, writer = await raw_request(url, body(stream=True))
        assert b"200 OK" in await reader.readuntil(b": heartbeat\n\n")
        await reader.readuntil(b": heartbeat\n\n")
        send(engine.streams[0], b"x")
        await reader.readuntil(b'"text":"x"')
        await asyncio.sleep(0.05)
        send(engine.streams[0], b"y", FinishReason.STOP)
        rest = await reader.readuntil(b"0\r\n\r\n")
        writer.close()
    assert b"heartbeat" not in rest and b"[DONE]" in rest


async def test_a_failure_after_a_heartbeat_is_an_event() -> None:
    engine = FakeEngine(None)
    async with serving(engine, heartbeat_seconds=0.01) as (_, url):
        reader, writer = await raw_request(url, body(stream=True))
        await reader.readuntil(b": heartbeat\n\n")
        engine.streams[0].fail(EngineError("It was set aside."))
        rest = await reader.readuntil(b"0\r\n\r\n")
        writer.close()
    assert b'data: {"error":{"message":"It was set aside."' in rest and b"[DONE]" not in rest


async def test_openais_client_skips_heartbeats() -> None:
    engine = FakeEngine(None)
    async with (
        serving(engine, heartbeat_seconds=0.01) as (_, url),
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        stream = await client.completions.create(model="tiny", prompt="hi", stream=True)
        send(engine.streams[0], b"x", FinishReason.STOP)
        assert [chunk.choices[0].text async for chunk in stream] == ["x", ""]


async def test_who_does_not_read_holds_a_bounded_buffer_and_is_cut_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = PacedEngine(b"a" * 100_000)
    replica = fake_replica(engine)
    limits = ConnectionLimits(stall_seconds=0.2)
    largest = 0
    async with over_socket(replica.app, limits, send_buffer_bytes=4096) as served:
        _, writer = await raw_request(served.url, body(stream=True))
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        while not engine.abort_seen.is_set():
            await asyncio.sleep(0.001)
            for connection in served.state.connections:
                largest = max(largest, connection.transport.get_write_buffer_size())
        writer.close()
    assert HIGH_WATER_LIMIT < largest < HIGH_WATER_LIMIT + 1024
    assert engine.num_sent < 100_000
    (entry,) = [json.loads(line) for line in replica.log.getvalue().splitlines()]
    assert (entry["status"], entry["finish_reason"]) == (499, "abort")
    assert f"The client of request {entry['id']} left its answer unread" in caplog.text


async def test_who_reads_slowly_gets_all_of_it_in_fewer_events() -> None:
    engine = PacedEngine(bytes(97 + index % 26 for index in range(3000)))
    replica = fake_replica(engine)
    async with over_socket(replica.app, send_buffer_bytes=4096) as served:
        reader, writer = await raw_request(served.url, body(stream=True))
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        while engine.num_sent < 3000:
            await asyncio.sleep(0.001)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        events = b""
        while not events.endswith(b"0\r\n\r\n"):
            events += await reader.read(1 << 16)
        writer.close()
    pieces = re.findall(rb'"text":"(\w*)"', events)
    assert b"".join(pieces) == engine.whole_answer
    assert len(pieces) < 1500
