"""What is passed on of a request and its answer is seen in test_proxy.py, failures in test_delivery.py."""

import asyncio

import pytest

from tests.router.fake_server import fake_servers
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
