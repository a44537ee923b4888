"""Replicas that are processes, each behind a proxy, and a router in the test's own event loop."""

import asyncio
import contextlib
import os
import pathlib
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import httpx2

from octavo.config import Environment, RouterConfig
from octavo.router.options import RouteOptions
from octavo.router.wiring import RunningRouter
from tests.e2e.failover.proxy import CutProxy
from tests.e2e.served import Served
from tests.over_socket import over_socket

SECRET = "shared"


class Replica:
    """A server and its engine, which come back on another port behind the same proxy."""

    def __init__(self, options: Sequence[str]) -> None:
        self._options = options
        self.served: Served | None = None
        self.proxy = CutProxy(0)

    async def start(self) -> None:
        self.served = await asyncio.to_thread(Served.start, *self._options)
        self.proxy.target_port = int(self.served.url.rpartition(":")[2].partition("/")[0])

    @property
    def process(self) -> "Served":
        assert self.served is not None
        return self.served

    def signal(self, number: int) -> None:
        self.process.process.send_signal(number)

    async def heal(self) -> None:
        """Whatever was done to it, it is as new."""
        self.proxy.reset()
        if self.process.process.poll() is None:
            self.signal(signal.SIGCONT)
        else:
            self.end()
            await self.start()

    def end(self) -> None:
        process = self.process.process
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


class Fleet:
    def __init__(self, replicas: Sequence[Replica], router: RunningRouter, url: str) -> None:
        self.replicas = replicas
        self.router = router
        self.url = url

    async def failovers(self) -> dict[str, float]:
        """Those that ended well, by reason."""
        async with httpx2.AsyncClient(base_url=self.url) as client:
            text = (await client.get("/metrics")).text
        found = re.findall(r'router_failovers_total{outcome="answered",reason="(.*?)"} (\S+)', text)
        return {reason: float(count) for reason, count in found}


@contextlib.contextmanager
def sharing_secret() -> Iterator[None]:
    """Processes started meanwhile know it."""
    before = os.environ.get("OCTAVO_SECRET")
    os.environ["OCTAVO_SECRET"] = SECRET
    try:
        yield
    finally:
        del os.environ["OCTAVO_SECRET"]
        if before is not None:
            os.environ["OCTAVO_SECRET"] = before


@contextlib.asynccontextmanager
async def replicas(count: int, options: Sequence[str]) -> AsyncIterator[list[Replica]]:
    made = [Replica(options) for _ in range(count)]
    try:
        with sharing_secret():
            await asyncio.gather(*(replica.start() for replica in made))
            for replica in made:
                await replica.proxy.start()
            yield made
    finally:
        for replica in made:
            if replica.served is not None:
                replica.end()
            await replica.proxy.stop()


@contextlib.asynccontextmanager
async def routed(
    made: Sequence[Replica], *, inter_token_seconds: float, secret: str | None = SECRET
) -> AsyncIterator[Fleet]:
    """A router of its own: nothing of an earlier fault is remembered."""
    config = RouterConfig(
        endpoints=tuple(replica.proxy.url for replica in made),
        policy="round-robin",
        inter_token_seconds=inter_token_seconds,
        health_interval_seconds=0.1,
        health_timeout_seconds=30.0,  # a busy machine is not a fault
    )
    environment = Environment(pathlib.Path("/nowhere"), None, None, "error", secret)
    router = RunningRouter.of(RouteOptions(config, environment, is_terminal=False), lambda sentence: None)
    router.start()
    try:
        await _until(lambda: all(endpoint.is_ready for endpoint in router.endpoints.endpoints))
        async with over_socket(router.app) as served:
            yield Fleet(made, router, served.url)
    finally:
        router.stop()
        await asyncio.sleep(0)
        for endpoint in router.endpoints.endpoints:
            endpoint.upstream.close()


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.02)
