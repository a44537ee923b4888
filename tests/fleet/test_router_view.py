"""What the supervisor reads at the router."""

import asyncio
import json

import pytest

from octavo.fleet.router_view import RouterView, Row
from tests.router.fake_server import FakeServer, Received, fake_servers, respond

pytestmark = pytest.mark.asyncio

ROWS = [{"name": "r0", "ready": True, "requests": 2, "url": "http://x"}]


class Table(FakeServer):
    body = json.dumps(ROWS).encode()
    asked: Received

    def _get(self, request: Received, writer: asyncio.StreamWriter) -> None:
        self.asked = request
        respond(writer, 200, self.body)


async def test_rows_are_read_with_the_key() -> None:
    server = Table()
    await server.start()
    view = RouterView(server.url, api_key="k")
    assert await view.rows() == [Row("r0", True, 2)]
    assert (server.asked.path, server.asked.headers["authorization"]) == ("/debug/endpoints", "Bearer k")
    server.body = b'{"error": {}}'
    assert await view.rows() is None
    view.close()
    await server.stop()


async def test_a_router_that_does_not_answer_has_none() -> None:
    assert await RouterView("http://127.0.0.1:1", api_key=None).rows() is None
    async with fake_servers(1) as (server,):
        server.is_silent = True
        view = RouterView(server.url, api_key=None, seconds=0.01)
        assert await view.rows() is None
        view.close()
