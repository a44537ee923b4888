"""A channel to each replica that has them, again and again; and streams that it carries, or that lose it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
import pytest

from octavo.core.channel import Renewal
from octavo.core.relay import CHANNEL_PATH, ReplicaCard
from octavo.router import channel
from octavo.router.address import Address
from octavo.router.channel_watch import ChannelWatch, Renewals
from octavo.router.endpoints import Endpoint
from octavo.router.upstream import Upstream
from octavo.server import channels
from tests.fakes import READY, FakeEngine, FakeReplica, PacedEngine
from tests.router.fake_server import FakeServer, Received, cut, fake_servers, status
from tests.router.routed import Routed, routed
from tests.router.test_resumable_relay import ANSWER, LONG, SECRET, failovers, stream
from tests.server.serving import serving

pytestmark = pytest.mark.asyncio


@contextlib.asynccontextmanager
async def kept(url: str, secret: str = SECRET, **options: float) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint(url, name="r0")
    endpoint.is_ready, endpoint.card = True, ReplicaCard("f", 1)
    keeping = asyncio.create_task(ChannelWatch(secret, retry_seconds=0.01, **options).keep(endpoint))
    try:
        yield endpoint
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        assert endpoint.upstream.channel is None


async def until(endpoint: Endpoint, *, is_open: bool) -> None:
    async with asyncio.timeout(10):
        while (endpoint.upstream.channel is not None) != is_open:
            await asyncio.sleep(0.002)


async def test_a_channel_is_open_while_the_replica_serves() -> None:
    async with serving(FakeEngine(b"x"), secret=SECRET) as (replica, url), kept(url) as endpoint:
        await until(endpoint, is_open=True)
        assert endpoint.description["channel"]
        replica.drain.begin()
        endpoint.is_ready = False
        await until(endpoint, is_open=False)


async def test_one_that_falls_silent_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "SIGN_OF_LIFE_SECONDS", 1000.0)
    async with serving(FakeEngine(b"x"), secret=SECRET) as (_, url), kept(url, silence_seconds=0.05) as one:
        await until(one, is_open=True)
        first = one.upstream.channel
        await until(one, is_open=False)
        await until(one, is_open=True)
        assert one.upstream.channel is not first


@pytest.mark.parametrize("status", (200, 401, 403, 404, 405))
async def test_a_replica_without_channels_is_asked_again_when_it_comes_back(status: int) -> None:
    async with fake_servers(1) as (server,):
        server.statuses[CHANNEL_PATH] = status
        async with kept(server.url) as endpoint:
            await asked(server, 1)
            await asyncio.sleep(0.1)
            assert endpoint.upstream.channel is None
            endpoint.is_ready = False
            await asyncio.sleep(0.1)
            assert server.got == [CHANNEL_PATH]
            endpoint.is_ready = True
            await asked(server, 2)


async def asked(server: FakeServer, times: int) -> None:
    async with asyncio.timeout(10):
        while len(server.got) < times:
            await asyncio.sleep(0.005)


async def test_one_that_stays_is_asked_again_in_the_end() -> None:
    async with fake_servers(1) as (server,), kept(server.url, absence_seconds=0.05):
        await asked(server, 3)


@pytest.mark.parametrize("status", (429, 500, 503))
async def test_one_that_is_busy_is_asked_again_soon_but_ever_less_often(status: int) -> None:
    async with fake_servers(1) as (server,):
        server.statuses[CHANNEL_PATH] = status
        async with kept(server.url) as endpoint:
            await asked(server, 4)
            await asyncio.sleep(0.4)
            assert len(server.got) < 8 and endpoint.upstream.channel is None


async def test_one_that_cannot_be_reached_is_asked_again_soon() -> None:
    async with fake_servers(1) as (server,):
        await server.stop()
        async with kept(server.url) as endpoint:
            await asyncio.sleep(0.05)
            async with serving(FakeEngine(b"x"), secret=SECRET) as (_, url):
                endpoint.upstream.address = Address.parse(url)
                await until(endpoint, is_open=True)


async def test_renewals_are_told_together_and_to_whom_they_mean_something() -> None:
    async with fake_servers(1) as (server,):
        upstream, renewals = Upstream(Address.parse(server.url)), Renewals("0" * 32)
        server.behaviour = cut
        telling = asyncio.create_task(renewals.tell(upstream, [], 5.0))
        renewals.add(1, 10)
        await server.arrived.wait()
        server.behaviour = status(405)
        renewals.add(2, 20)
        renewals.add(3, 30)
        await telling  # one that is lost ends nothing; a replica that knows of none is told no more
        told = [msgspec.json.decode(one.body, type=Renewal) for one in server.received]
        assert told == [Renewal("0" * 32, {1: 10}), Renewal("0" * 32, {2: 20, 3: 30})]
        upstream.close()


async def test_a_channel_that_somebody_between_gathers_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its head comes, and no sign of life: streams that wait for it would come too late."""

    def only_a_head(self: FakeServer, request: Received, writer: asyncio.StreamWriter) -> None:
        self.got.append(request.path)
        head = f"HTTP/1.1 200 OK\r\nx-octavo-channel: {'0' * 32}\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head.encode())

    monkeypatch.setattr(FakeServer, "_get", only_a_head)
    async with fake_servers(1) as (server,), kept(server.url, silence_seconds=0.1) as endpoint:
        async with asyncio.timeout(10):
            while len(server.got) < 2:
                assert endpoint.upstream.channel is None
                await asyncio.sleep(0.001)


async def test_one_without_the_secret_gets_none() -> None:
    async with serving(FakeEngine(b"x"), secret=SECRET) as (_, url), kept(url, "another") as endpoint:
        await asyncio.sleep(0.1)
        assert endpoint.upstream.channel is None


@contextlib.asynccontextmanager
async def one_replica(*, has_channels: bool = True) -> AsyncIterator[tuple[FakeReplica, Routed]]:
    engine = PacedEngine(ANSWER, pace=0.003)
    engine.info = msgspec.structs.replace(READY)
    async with (
        serving(engine, secret=SECRET) as (replica, url),
        routed([url], secret=SECRET, limits=LONG, has_channels=has_channels) as router,
    ):
        yield replica, router


def pieces(router: Routed) -> int:
    one = router.endpoints[0].upstream.channel
    return 0 if one is None else one.num_pieces


@pytest.mark.parametrize("fields", ({}, {"n": 3, "seed": 5}, {"stop": "Läu", "logprobs": 2}), ids=str)
async def test_a_stream_by_the_channel_is_the_same_stream(fields: dict[str, object]) -> None:
    async with one_replica(has_channels=False) as (_, router):
        without = await stream(router, **fields)
        assert pieces(router) == 0
    async with one_replica() as (_, router):
        assert sorted(await stream(router, **fields)) == sorted(without)
        assert pieces(router) > 10
        if "n" not in fields:  # choices come in any order
            assert await stream(router, **fields) == without


async def test_beyond_its_share_a_stream_goes_on_by_its_own_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with one_replica() as (_, router):
        whole = await stream(router)
        before = pieces(router)
        monkeypatch.setattr(channels, "CHANNEL_BYTES", 1500)
        assert await stream(router) == whole
        assert 1 < pieces(router) - before < before


async def test_while_its_client_reads_a_streams_share_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with one_replica() as (_, router):
        whole = await stream(router)
        before = pieces(router)
        for module in (channels, channel):
            monkeypatch.setattr(module, "CHANNEL_BYTES", 3000)
        assert len(whole) > 2 * 3000
        assert await stream(router) == whole
        assert pieces(router) == 2 * before


async def test_a_replica_that_sends_more_than_a_streams_share_is_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its streams go on; until it was away they come by their own connections."""
    async with one_replica() as (replica, router):
        whole = await stream(router)
        monkeypatch.setattr(channel, "CHANNEL_BYTES", 100)
        assert await asyncio.gather(*(stream(router) for _ in range(3))) == [whole] * 3
        assert failovers(router) == {"cut": 3} and router.endpoints[0].upstream.channel is None
        assert await stream(router) == whole and failovers(router) == {"cut": 3}
        assert len(replica.engine.submitted) == 1 + 2 * 3 + 1


async def test_two_routers_have_channels_of_their_own() -> None:
    async with (
        one_replica() as (replica, one),
        routed([one.endpoints[0].url], secret=SECRET, limits=LONG) as other,
    ):
        alone = await stream(one)
        first, second = asyncio.create_task(stream(one)), asyncio.create_task(stream(other))
        while len(replica.engine.streams) < 3 or replica.engine.streams[-1].num_output_tokens < 5:
            await asyncio.sleep(0.001)
        await one.cut_channels()
        assert await asyncio.gather(first, second) == [alone] * 2
        assert failovers(one) == {"cut": 1} and not failovers(other)
        assert pieces(other) > 10


async def test_streams_whose_channel_breaks_go_on_where_they_stand() -> None:
    async with one_replica() as (replica, router):
        undisturbed = await stream(router)
        asking = [asyncio.create_task(stream(router)) for _ in range(2)]
        while sum(6 < one.num_output_tokens < 20 for one in replica.engine.streams) < 2:
            await asyncio.sleep(0.001)
        await router.cut_channels()
        assert await asyncio.gather(*asking) == [undisturbed] * 2
        assert failovers(router) == {"cut": 2}
        assert router.endpoints[0].load.num_tokens == 0


async def test_the_client_is_not_told_of_the_channel() -> None:
    async with one_replica() as (_, router):
        assert "x-octavo-channel" not in (await router.ask(stream=True)).headers


async def test_who_leaves_leaves_the_channel() -> None:
    async with one_replica() as (replica, router):
        asking = asyncio.create_task(router.ask(stream=True))
        while not any(one.num_output_tokens > 5 for one in replica.engine.streams):
            await asyncio.sleep(0.001)
        carrying = router.endpoints[0].upstream.channel
        assert carrying is not None and carrying.num_streams == 1
        asking.cancel()
        async with asyncio.timeout(10):
            await replica.engine.abort_seen.wait()
        assert carrying.num_streams == 0
