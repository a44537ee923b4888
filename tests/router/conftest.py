"""An endpoint of bytes, and what asks it."""

from collections.abc import AsyncIterator

import pytest_asyncio

from octavo.router.address import Address
from octavo.router.upstream import Upstream
from tests.router.fake_server import FakeServer, fake_servers


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_servers(1) as (server,):
        yield server


@pytest_asyncio.fixture
async def client(server: FakeServer) -> AsyncIterator[Upstream]:
    client = Upstream(Address.parse(server.url), connect_seconds=1.0)
    yield client
    client.close()
