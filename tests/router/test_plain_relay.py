"""What is passed on of a request and its answer is seen in test_proxy.py, failures in test_delivery.py."""

import asyncio
import functools
import gzip
import json
from collections.abc import Callable

import pytest

from tests.router import fake_server
from tests.router.fake_server import EVENTS, Behaviour, Received, fake_servers
from tests.router.routed import routed

pytestmark = pytest.mark.asyncio


async def test_a_stream_without_a_byte_is_no_answer() -> None:
    async with fake_servers(2) as servers, routed([s.url for s in servers]) as router:

        async def behave(request: object, writer: asyncio.StreamWriter) -> None:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 0\r\n\r\n"
            writer.write(head)
            await writer.drain()

        servers[0].behaviour = behave
        for _ in range(2):
            assert (await router.ask(stream=True)).content.endswith(b"[DONE]\n\n")


async def test_a_streams_prompt_weighs_until_its_first_byte() -> None:
    async with fake_servers(1) as (server,), routed([server.url]) as router:
        (endpoint,) = router.endpoints
        seen = []
        server_behaviour = server.behaviour

        async def behave(request: object, writer: asyncio.StreamWriter) -> None:
            seen.append(endpoint.load.num_prompt_tokens)
            await server_behaviour(request, writer)  # type: ignore[arg-type, misc]

        server.behaviour = behave
        body = {"model": "tiny", "prompt": "x" * 400, "stream": True}
        async with router.client.stream("POST", "/v1/completions", json=body) as response:
            await anext(response.aiter_raw())
            seen.append(endpoint.load.num_prompt_tokens)
        assert seen[0] > 100 and seen[1] == 0


def unframed(content_type: bytes, *pieces: bytes) -> Behaviour:
    """It ends with its connection."""

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n\r\n" % content_type)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.close()

    return behave


def framed(*events: bytes) -> Behaviour:
    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        await fake_server.stream(writer, events)
        writer.write(b"0\r\n\r\n")

    return behave


@pytest.mark.parametrize("framing", (framed, functools.partial(unframed, b"text/event-stream")))
async def test_a_stream_that_ends_without_its_last_words_was_broken_off(
    framing: Callable[..., Behaviour],
) -> None:
    async with fake_servers(1) as (server,), routed([server.url]) as router:
        server.behaviour = framing(*EVENTS)
        assert (await router.ask(stream=True)).content == b"".join(EVENTS)
        server.behaviour = framing(*EVENTS[:-1])
        content = (await router.ask(stream=True)).content
        assert content.startswith(b"".join(EVENTS[:-1]))
        assert b"The endpoint broke off this answer: the stream ended before the answer did." in content
        server.behaviour = framing(b'data: {"error":{"message":"no"}}\n\n')
        assert b"broke off" not in (await router.ask(stream=True)).content
    assert [json.loads(line).get("error") for line in router.log.getvalue().splitlines()] == [
        None,
        "endpoint_broke_off",
        "said by its endpoint",
    ]


async def test_a_stream_that_is_cut_off_after_its_last_words_is_complete() -> None:
    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        await fake_server.stream(writer, EVENTS)
        raise ConnectionResetError

    async with fake_servers(1) as (server,), routed([server.url]) as router:
        server.behaviour = behave
        assert (await router.ask(stream=True)).content == b"".join(EVENTS)
        assert router.endpoints[0].breaker.state == "closed"


@pytest.mark.parametrize("is_stream", [True, False])
async def test_an_answer_that_could_come_compressed_does_not(is_stream: bool) -> None:
    """A proxy before the endpoint would do so for most clients, and the router reads what it passes on."""
    body = json.dumps({"usage": {"prompt_tokens_details": {"cached_tokens": 5}}}).encode()
    data = b"".join(EVENTS) if is_stream else body

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        is_compressed = "gzip" in request.headers.get("accept-encoding", "")
        kind = b"text/event-stream" if is_stream else b"application/json"
        encoding, sent = (
            (b"content-encoding: gzip\r\n", gzip.compress(data)) if is_compressed else (b"", data)
        )
        length = b"content-length: %d\r\n\r\n" % len(sent)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n%b%b%b" % (kind, encoding, length, sent))
        await writer.drain()

    async with fake_servers(1) as (server,), routed([server.url]) as router:
        server.behaviour = behave
        assert "gzip" in router.client.headers["accept-encoding"]
        assert (await router.ask(stream=is_stream)).content == data
        (attempt,) = next(iter(router.router.decisions._decisions.values())).attempts
        assert (attempt.outcome, attempt.num_cached_actual) == ("answered", None if is_stream else 5)


async def test_json_that_ends_with_its_connection_is_whole_or_asked_for_again() -> None:
    async with fake_servers(2) as servers, routed([s.url for s in servers]) as router:
        servers[0].behaviour = unframed(b"application/json", b'{"half": ', b"1}")
        assert {(await router.ask()).content for _ in range(2)} == {
            b'{"half": 1}',
            b'{ "whole":   "answer" }',
        }
        servers[0].behaviour = unframed(b"application/json", b'{"half": ')
        assert [(await router.ask()).content for _ in range(2)] == [b'{ "whole":   "answer" }'] * 2
    assert router.sample("octavo:router_failovers_total", reason="cut", outcome="answered") == 2


async def test_an_error_that_is_typed_as_a_stream_is_an_error() -> None:
    async with fake_servers(2) as servers, routed([s.url for s in servers]) as router:
        for server in servers:
            server.behaviour = refuse
        response = await router.ask(stream=True)
        assert (response.status_code, response.content) == (503, b"data: busy\n\n")
        assert [len(server.received) for server in servers] == [1, 1]


async def refuse(request: Received, writer: asyncio.StreamWriter) -> None:
    head = b"HTTP/1.1 503 X\r\ncontent-type: text/event-stream\r\ncontent-length: 12\r\n\r\n"
    writer.write(head + b"data: busy\n\n")
    await writer.drain()
