"""A fleet that grows and shrinks under load: a new one soon has its share, and no request is lost."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

import httpx2
import pytest

from octavo.router.wiring import RunningRouter
from tests.over_socket import over_socket
from tests.router import fake_server
from tests.router.fake_server import EVENTS, FakeServer, Received, fake_servers
from tests.router.test_run import options

pytestmark = pytest.mark.asyncio

NUM_CLIENTS = 12
WINDOW = 48  # answers in which shares are counted


class Load:
    """Clients that ask one after another; answers are counted by their endpoint."""

    def __init__(self, client: httpx2.AsyncClient, policy: str) -> None:
        self._client = client
        self._headers = {"x-octavo-policy": policy}
        self._numbers = itertools.count()
        self.endpoints: list[str] = []
        self.is_over = False

    async def ask(self) -> None:
        """As one client, to the end of the load."""
        while not self.is_over:
            number = next(self._numbers)
            body = {"model": "tiny", "prompt": f"{number} " * 400, "stream": number % 2 == 0}
            response = await self._client.post("/v1/completions", json=body, headers=self._headers)
            whole = b"".join(EVENTS) if body["stream"] else b'{ "whole":   "answer" }'
            assert (response.status_code, response.content) == (200, whole)
            self.endpoints.append(response.headers["x-octavo-route"].partition(";")[0])

    async def window(self) -> list[str]:
        """Whose the next answers are."""
        start = len(self.endpoints)
        while len(self.endpoints) < start + WINDOW:
            await asyncio.sleep(0.005)
        return self.endpoints[start : start + WINDOW]


async def slowly(request: Received, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.01)
    await fake_server.answer(request, writer)


@contextlib.asynccontextmanager
async def loaded(router: RunningRouter, policy: str) -> AsyncIterator[tuple[Load, httpx2.AsyncClient]]:
    """The load, and an operator."""
    key = {"authorization": "Bearer operator"}
    async with (
        over_socket(router.app) as served,
        over_socket(router.admin) as managed,
        httpx2.AsyncClient(base_url=served.url, timeout=30) as client,
        httpx2.AsyncClient(base_url=managed.url, headers=key) as operator,
    ):
        router.start()
        while not all(endpoint.is_ready for endpoint in router.endpoints.endpoints):
            await asyncio.sleep(0.01)
        load = Load(client, policy)
        async with asyncio.TaskGroup() as clients:
            for _ in range(NUM_CLIENTS):
                clients.create_task(load.ask())
            yield load, operator
            load.is_over = True
        router.stop()


@pytest.mark.parametrize("policy", ["cost", "round-robin"])
async def test_one_that_joins_gets_its_share_and_one_that_leaves_loses_nothing(policy: str) -> None:
    async with fake_servers(3) as servers:
        one, two, three = servers
        for server in servers:
            server.behaviour = slowly
        router = RunningRouter.of(
            options(one.url, two.url, admin_port=0, admin_key="operator"), lambda sentence: None
        )
        async with loaded(router, policy) as (load, operator):
            assert set(await load.window()) == {"endpoint=r0", "endpoint=r1"}
            assert (await operator.post("/endpoints", json={"url": three.url})).status_code == 201
            await arrived(three)
            assert (await load.window()).count("endpoint=r2") > WINDOW / 3 / 2
            assert (await operator.delete("/endpoints/r0")).status_code == 202
            while any(row["name"] == "r0" for row in (await operator.get("/endpoints")).json()):
                await asyncio.sleep(0.01)
            num_received = len(one.received)
            assert set(await load.window()) <= {"endpoint=r1", "endpoint=r2"}
            assert len(one.received) == num_received


async def arrived(server: FakeServer) -> None:
    async with asyncio.timeout(10):
        await server.arrived.wait()
