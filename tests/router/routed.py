"""A whole router around given endpoints, in the test's own event loop; health is asked when it says so."""

import asyncio
import contextlib
import io
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx2

from octavo.core.relay import SECRET_HEADER
from octavo.http.access import Access
from octavo.http.key_ring import KeyRing
from octavo.http.request_log import RequestLog
from octavo.metrics.router_metrics import RouterMetrics
from octavo.router.aliases import Aliases
from octavo.router.app import build_app
from octavo.router.breaker import CircuitBreaker
from octavo.router.channel_watch import ChannelWatch
from octavo.router.delivery import DeliveryLimits
from octavo.router.endpoints import Endpoint, EndpointSet, OnDemandModels
from octavo.router.health import EndpointProbe, HealthLimits
from octavo.router.knowledge import Knowledge
from octavo.router.proxy import Proxy, ProxyLimits
from octavo.router.retry_budget import RetryBudget
from octavo.router.routed_request import RequestReader
from octavo.router.routing import Router, all_policies
from octavo.router.waiting_room import QueueLimits, WaitingRoom
from tests.over_socket import over_socket

LIMITS = DeliveryLimits(first_token=5.0, inter_token=5.0, total=20.0)
HEALTH = HealthLimits(interval_seconds=0.01, timeout_seconds=5.0, num_failures=2)


class Routed:
    """url is where clients go; ask and stream are two of them."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        policy: str = "round-robin",
        session_key: str | None = None,
        aliases: dict[str, dict[str, float]] | None = None,
        limits: DeliveryLimits = LIMITS,
        health: HealthLimits = HEALTH,
        api_key: str | None = None,
        secret: str | None = None,
        patience_seconds: float = 5.0,
        budget: RetryBudget | None = None,
        max_body_bytes: int = 1 << 16,
        on_demand: OnDemandModels | None = None,
        queue: QueueLimits | None = None,
        may_be_inexact: bool = False,
    ) -> None:
        self.endpoints = [
            Endpoint(url, name=f"r{number}", breaker=CircuitBreaker(open_seconds=1000.0))
            for number, url in enumerate(urls)
        ]
        self.set = EndpointSet(self.endpoints, Aliases(aliases), on_demand or OnDemandModels())
        self.metrics = RouterMetrics()
        self.knowledge = knowledge = Knowledge()
        self.router = Router(
            self.set,
            all_policies(knowledge),
            policy,
            retry_after_seconds=3,
            knowledge=knowledge,
            room=WaitingRoom(queue or QueueLimits(), self.metrics, look_seconds=0.02),
            lots=random.Random(1),
        )
        self.proxy = Proxy(
            self.router,
            RequestReader(self.set.resolve, session_key=session_key),
            self.metrics,
            secret=secret,
            limits=ProxyLimits(
                limits,
                max_body_bytes=max_body_bytes,
                patience_seconds=patience_seconds,
                may_be_inexact=may_be_inexact,
            ),
            budget=budget,
        )
        self.log = io.StringIO()
        log = RequestLog(is_json=True, is_coloured=False, output=self.log)
        self.app = build_app(self.router, self.proxy, self.metrics, access=Access(KeyRing(api_key)), log=log)
        headers = [] if secret is None else [(SECRET_HEADER, secret.encode())]
        self.probes = [
            EndpointProbe(endpoint, headers, health, lambda endpoint, state: None)
            for endpoint in self.endpoints
        ]
        self.client: httpx2.AsyncClient
        self._secret = secret
        self._watching: list[asyncio.Task[None]] = []

    async def look(self) -> None:
        """Every endpoint's health, once."""
        for probe in self.probes:
            await probe.run()

    async def open_channels(self) -> None:
        """To every replica; close() ends them."""
        if self._secret is None:
            return
        watch = ChannelWatch(self._secret, retry_seconds=0.01)
        self._watching = [asyncio.create_task(watch.keep(endpoint)) for endpoint in self.endpoints]
        while any(one.card is not None and one.upstream.channel is None for one in self.endpoints):
            await asyncio.sleep(0.001)

    async def cut_channels(self) -> None:
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)

    async def close(self) -> None:
        await self.cut_channels()
        for endpoint in self.endpoints:
            endpoint.upstream.close()

    async def ask(self, **fields: Any) -> httpx2.Response:
        body = {"model": "tiny", "prompt": "hi", **fields}
        return await self.client.post("/v1/completions", json=body)

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@contextlib.asynccontextmanager
async def routed(urls: Sequence[str], *, has_channels: bool = True, **options: Any) -> AsyncIterator[Routed]:
    """Over real sockets, so that streams come as they come; those of replicas by channels, with a secret."""
    router = Routed(urls, **options)
    await router.look()
    if has_channels:
        await router.open_channels()
    try:
        async with (
            over_socket(router.app) as served,
            httpx2.AsyncClient(base_url=served.url, timeout=30) as router.client,
        ):
            yield router
    finally:
        await router.close()
