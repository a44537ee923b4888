"""tools/router_overhead counts what it sends; its engine is an octavo replica to a router with the secret."""

import asyncio
import time

import pytest

from tests.router.routed import routed
from tools.router_overhead import engine, load
from tools.router_overhead.engine import Replica
from tools.router_overhead.load import Load

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def short_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "EVENTS_PER_SECOND", 1000.0)
    monkeypatch.setattr(load, "START_SECONDS", 0.01)


@pytest.mark.parametrize(("secret", "has_channels"), ((None, True), ("shared", True), ("shared", False)))
async def test_everything_is_counted_through_a_router_and_without(
    secret: str | None, has_channels: bool
) -> None:
    replica = Replica(has_channels=has_channels)
    server = await asyncio.get_running_loop().create_server(replica.connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with routed([f"http://127.0.0.1:{port}"], secret=secret, has_channels=has_channels) as router:
        assert (router.endpoints[0].card is not None) == (secret is not None)
        for target in (port, int(str(router.client.base_url).rstrip("/").rpartition(":")[2])):
            start = time.monotonic()
            found = await Load(target).short(rate=200.0, seconds=0.1, num_characters=100)
            assert (found.num_asked, found.num_answered, found.num_delays) == (20, 20, 20)
            in_two = await Load(target, gap_seconds=1e-4).short(rate=200.0, seconds=0.05, num_characters=100)
            assert (in_two.num_asked, in_two.num_answered) == (10, 10)
            saturated = await Load(target).saturate(4, seconds=0.05, num_characters=100)
            assert saturated.num_answered == saturated.num_asked == saturated.num_delays > 4
            streamed = await Load(target).streams(3, num_events=5)
            assert (streamed.num_asked, streamed.num_answered, streamed.num_delays) == (3, 3, 15)
            channel = router.endpoints[0].upstream.channel
            num_pieces = 0 if channel is None else channel.num_pieces
            assert (num_pieces > 15) == (target != port and secret is not None and has_channels)
            assert 0 < streamed.delays.p50 <= streamed.delays.max < time.monotonic() - start
    server.close()
