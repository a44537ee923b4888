"""The connections to an endpoint: made, kept for the next question, and replaced."""

import asyncio

import pytest
import uvicorn

from octavo.router import upstream
from octavo.router.upstream import Upstream
from octavo.router.upstream_connection import UpstreamError
from tests.router.fake_server import FakeServer
from tests.router.posting import JSON, STREAM, post

pytestmark = pytest.mark.asyncio


async def test_a_connection_serves_one_request_after_another(server: FakeServer, client: Upstream) -> None:
    for body in (JSON, STREAM, JSON):
        await (await post(client, body)).read_all(5.0, 1000)
    assert server.num_connections == 1


async def test_a_connection_is_kept_no_longer_than_servers_keep_theirs(
    server: FakeServer, client: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or one would be ended just when it is asked something, and nobody could say whether it was of that."""
    assert uvicorn.Config("", log_config=None).timeout_keep_alive > upstream.MAX_IDLE_SECONDS
    await (await post(client)).read_all(5.0, 1000)
    monkeypatch.setattr(upstream, "MAX_IDLE_SECONDS", 0.01)
    await asyncio.sleep(0.05)
    await (await post(client)).read_all(5.0, 1000)
    assert server.num_connections == 2


async def test_an_answer_that_is_not_wanted_costs_its_connection(
    server: FakeServer, client: Upstream
) -> None:
    (await post(client, STREAM)).close()
    await (await post(client)).read_all(5.0, 1000)
    assert server.num_connections == 2


async def test_a_kept_connection_that_was_closed_meanwhile_is_replaced(
    server: FakeServer, client: Upstream
) -> None:
    await (await post(client)).read_all(5.0, 1000)
    await server.stop()
    await server.start()
    assert (await post(client)).status == 200


async def test_nobody_listens(server: FakeServer, client: Upstream) -> None:
    await server.stop()
    with pytest.raises(UpstreamError, match="cannot connect to 127") as caught:
        await post(client)
    assert caught.value.reason == "connect"
