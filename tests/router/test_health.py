"""What the router finds out about an endpoint by asking it."""

import asyncio
import dataclasses

import pytest

from octavo.router.endpoints import Endpoint
from octavo.router.health import EndpointProbe, HealthLimits, HealthMonitor
from octavo.router.upstream_connection import UpstreamError
from tests.router.fake_server import FakeServer, fake_servers

pytestmark = pytest.mark.asyncio

LIMITS = HealthLimits(interval_seconds=0.01, timeout_seconds=5.0, num_failures=3, models_every=2)
HASTY = dataclasses.replace(LIMITS, timeout_seconds=0.2)  # for servers that say nothing


class Probed:
    def __init__(self, server: FakeServer, limits: HealthLimits = LIMITS, **options: object) -> None:
        self.endpoint = Endpoint(server.url, name="r0", **options)  # type: ignore[arg-type]
        self.changes: list[str] = []
        self.probe = EndpointProbe(
            self.endpoint, [], limits, lambda endpoint, state: self.changes.append(state)
        )


async def test_a_healthy_endpoint_is_ready_with_its_models() -> None:
    async with fake_servers(1, ("a", "b")) as (server,):
        probed = Probed(server)
        assert not probed.endpoint.is_available
        await probed.probe.run()
        assert probed.endpoint.is_available and list(probed.endpoint.cards) == ["a", "b"]
        assert probed.changes == ["ready"]


async def test_models_are_looked_at_again_now_and_then() -> None:
    async with fake_servers(1, ("a",)) as (server,):
        probed = Probed(server)
        await probed.probe.run()
        server.models = ("a", "new")
        for _ in range(LIMITS.models_every):
            await probed.probe.run()
        assert "new" in probed.endpoint.cards


@pytest.mark.parametrize("body", [b"<html>", b'{"data":[{"id":"\xff"}]}', b'{"data":[{"id":' + b"[" * 10_000])
async def test_models_that_cannot_be_read_are_a_failure(body: bytes) -> None:
    async with fake_servers(1) as (server,):
        probed = Probed(server)
        server.models_body = body
        await probed.probe.run()
        assert not probed.endpoint.is_ready and probed.endpoint.complaint
        server.models_body = None
        await probed.probe.run()
        assert probed.endpoint.is_ready


async def test_models_the_operator_gave_are_not_asked_for() -> None:
    async with fake_servers(1, ("a",)) as (server,):
        probed = Probed(server, static_models=("given",))
        await probed.probe.run()
        assert list(probed.endpoint.cards) == ["given"]


async def test_one_that_says_no_gets_nothing_new_and_loses_nothing() -> None:
    async with fake_servers(1) as (server,):
        probed = Probed(server)
        await probed.probe.run()
        server.is_ready = False
        with probed.endpoint.lifeline():
            for _ in range(5):
                await probed.probe.run()
        assert not probed.endpoint.is_available and probed.endpoint.complaint == "its /health answers 503"
        server.is_ready = True
        await probed.probe.run()
        assert probed.changes == ["ready", "unready", "ready"]


@pytest.mark.parametrize("is_silent", (True, False), ids=("silent", "gone"))
async def test_one_that_says_nothing_is_lost_after_a_few_times(is_silent: bool) -> None:
    async with fake_servers(1) as (server,):
        probed = Probed(server, HASTY)
        await probed.probe.run()
        server.is_silent = is_silent
        if not is_silent:
            await server.stop()

        async def work() -> None:
            with probed.endpoint.lifeline():
                await asyncio.Event().wait()

        working = asyncio.create_task(work())
        for _ in range(LIMITS.num_failures - 1):
            await probed.probe.run()
        assert probed.endpoint.is_available and not working.done()
        await probed.probe.run()
        assert not probed.endpoint.is_available and probed.changes[-1] == "lost"
        with pytest.raises(UpstreamError) as caught:
            await working
        assert caught.value.reason == "gone"


async def test_silences_between_answers_are_no_loss() -> None:
    async with fake_servers(1) as (server,):
        probed = Probed(server, HASTY)
        for _ in range(LIMITS.num_failures):
            server.is_silent = False
            await probed.probe.run()
            server.is_silent = True
            await probed.probe.run()
        assert probed.endpoint.is_available and "lost" not in probed.changes


async def test_an_odd_list_of_models_is_no_answer() -> None:
    async with fake_servers(1) as (server,):
        server.models = (7,)  # type: ignore[assignment]
        probed = Probed(server)
        await probed.probe.run()
        assert probed.endpoint.is_ready and not probed.endpoint.cards


async def test_watching_asks_again_and_again() -> None:
    async with fake_servers(1) as (server,):
        endpoint = Endpoint(server.url, name="r0")
        is_ready = asyncio.Event()
        monitor = HealthMonitor(api_key="k", limits=LIMITS, on_change=lambda *_: is_ready.set())
        server.is_ready = False
        watching = asyncio.create_task(monitor.watch(endpoint))
        await asyncio.sleep(0.05)
        assert not is_ready.is_set()
        server.is_ready = True
        await is_ready.wait()
        watching.cancel()
