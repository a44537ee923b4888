"""Over a socket, against a real replica on a fake engine."""

import asyncio

import msgspec

from octavo.core.messages import EngineStats
from octavo.core.relay import CacheEvent, KnownPrompt, ReplicaCard
from octavo.router.cache_watch import CacheWatch, apply
from octavo.router.endpoints import Endpoint
from octavo.router.prefix_index import CachedPrefixes
from tests.fakes import FakeEngine
from tests.router.fake_server import FakeServer, Received
from tests.router.policies.some import endpoints
from tests.server.serving import serving

SECRET = "shared"


def test_events_are_applied_in_order() -> None:
    (endpoint,) = endpoints(1)
    prefixes = CachedPrefixes()
    apply(endpoint, CacheEvent(0, True, b"a" * 8 + b"b" * 8), prefixes)
    apply(endpoint, CacheEvent(1, False, b"c" * 8, b"a" * 8), prefixes)
    assert endpoint.cached_blocks == {b"b" * 8, b"c" * 8}
    apply(endpoint, CacheEvent(2), prefixes)
    apply(endpoint, CacheEvent(0, True), prefixes)
    assert endpoint.cached_blocks == set()


def test_an_endpoint_is_short_of_memory_while_requests_wait_for_it() -> None:
    (endpoint,) = endpoints(1)
    for num_waiting, usage, is_short in ((1, 0.97, True), (0, 1.0, False), (9, 0.5, False)):
        apply(endpoint, CacheEvent(0, num_waiting=num_waiting, kv_usage=usage), CachedPrefixes())
        assert endpoint.is_short_of_memory == is_short


async def until(endpoint: Endpoint, blocks: set[bytes] | None) -> None:
    async with asyncio.timeout(10):
        while endpoint.cached_blocks != blocks:
            await asyncio.sleep(0.005)


def followed(url: str) -> Endpoint:
    endpoint = Endpoint(url, name="r0")
    endpoint.is_ready, endpoint.card = True, ReplicaCard("f", 1)
    return endpoint


def test_an_endpoint_is_followed_until_it_is_gone() -> None:
    async def run() -> None:
        async with serving(FakeEngine(b"x"), secret=SECRET) as (replica, url):
            endpoint = followed(url)
            watching = asyncio.create_task(
                CacheWatch(SECRET, CachedPrefixes(), retry_seconds=0.01).follow(endpoint)
            )
            await until(endpoint, set())
            replica.engine.on_step(0, EngineStats(cached_blocks=b"a" * 8 + b"b" * 8))
            replica.engine.on_step(0, EngineStats(forgotten_blocks=b"a" * 8))
            await until(endpoint, {b"b" * 8})
            replica.engine.on_step(
                0, EngineStats(num_waiting=1, kv_usage=1.0, cached_blocks=b"c" * 8, forgotten_blocks=b"b" * 8)
            )
            await until(endpoint, {b"c" * 8})
            assert endpoint.is_short_of_memory
            replica.engine.on_step(1, EngineStats())
            await until(endpoint, set())
            replica.drain.begin()
            await until(endpoint, None)
            assert not endpoint.is_short_of_memory
            watching.cancel()

    asyncio.run(run())


def test_one_without_the_secret_is_told_nothing() -> None:
    async def run() -> None:
        async with serving(FakeEngine(b"x"), secret=SECRET) as (_, url):
            endpoint = followed(url)
            watching = asyncio.create_task(
                CacheWatch("another", CachedPrefixes(), retry_seconds=0.01).follow(endpoint)
            )
            await asyncio.sleep(0.1)
            assert endpoint.cached_blocks is None
            watching.cancel()

    asyncio.run(run())


class Teller(FakeServer):
    """Of cache events: a line to each who asks."""

    def __init__(self, *lines: bytes) -> None:
        super().__init__()
        self._lines = iter(lines)

    def _get(self, request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + next(self._lines) + b"\n")


def test_one_that_tells_nonsense_is_asked_again() -> None:
    async def run() -> None:
        good = msgspec.json.encode(CacheEvent(0, True, b"a" * 8))
        odd = msgspec.json.encode(CacheEvent(0, prompts=[KnownPrompt(9, b"nine byte", b"x")]))
        server = Teller(b'{"x": ' + b"[" * 100_000, b'{"number": "\xff"}', b"{", odd + b"\n" + good)
        await server.start()
        endpoint = followed(server.url)
        watching = asyncio.create_task(
            CacheWatch(SECRET, CachedPrefixes(), retry_seconds=0.01).follow(endpoint)
        )
        await until(endpoint, {b"a" * 8})
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await server.stop()

    asyncio.run(run())
