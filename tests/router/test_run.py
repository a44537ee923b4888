"""The router's life, as a process would have it."""

import asyncio
import os
import signal
from typing import Any

import httpx2
import pytest

from octavo.config import Environment, RouterConfig
from octavo.http import process
from octavo.http.listener import listen
from octavo.router import run
from octavo.router.options import RouteOptions
from octavo.router.wiring import RunningRouter
from tests.router import fake_server
from tests.router.fake_server import fake_servers

pytestmark = pytest.mark.asyncio


def options(*urls: str, **fields: Any) -> RouteOptions:
    defaults: dict[str, Any] = {"endpoints": urls, "health_interval_seconds": 0.01, "drain_seconds": 5.0}
    environment = Environment.read()
    return RouteOptions(RouterConfig(**{**defaults, **fields}), environment, is_terminal=False)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    for module in (process, run):
        monkeypatch.setattr(module, "say", lines.append)
    return lines


async def test_it_serves_drains_and_stops(said: list[str]) -> None:
    async with fake_servers(1) as (server,), httpx2.AsyncClient() as client:
        with listen("127.0.0.1", 0) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/completions"
            router = RunningRouter.of(options(server.url, static_aliases=("nick:tiny",)), said.append)
            task = asyncio.create_task(run.serve(router, listener, 5.0))
            while not router.endpoints.endpoints[0].is_ready:
                await asyncio.sleep(0.01)
            gate = asyncio.Event()

            async def slowly(request: Any, writer: asyncio.StreamWriter) -> None:
                await gate.wait()
                await fake_server.answer(request, writer)

            server.behaviour = slowly
            asking = asyncio.create_task(client.post(url, json={"model": "nick"}))
            await server.arrived.wait()
            os.kill(os.getpid(), signal.SIGTERM)
            while not router.proxy.is_draining:
                await asyncio.sleep(0.01)
            gate.set()
            assert (await asking).status_code == 200
            assert await task == 0
    assert said[1].startswith(f"endpoint r0 ({server.url}) is ready; its streams end with it: ")
    assert said[-1] == "stopped"


async def test_who_is_not_there_at_the_start_is_named_once(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "PATIENCE_SECONDS", 0.2)
    async with fake_servers(1) as (server,):
        with listen("127.0.0.1", 0) as listener:
            absent, asleep = "http://127.0.0.1:1", "http://127.0.0.1:2"
            given = options(
                server.url, absent, asleep, static_models=("tiny", "tiny", "big"), on_demand_models=("big",)
            )
            task = asyncio.create_task(run.serve(RunningRouter.of(given, said.append), listener, 5.0))
            while not any("is not ready yet" in line for line in said):
                await asyncio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)
            assert await task == 0
    [line] = [line for line in said if "is not ready yet" in line]
    assert line.startswith(f"endpoint r1 ({absent}) is not ready yet: ")


async def test_a_second_signal_cuts_answers_off_and_tells_them(said: list[str]) -> None:
    async with fake_servers(1) as (server,), httpx2.AsyncClient() as client:
        server.behaviour = fake_server.stall
        with listen("127.0.0.1", 0) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/completions"
            router = RunningRouter.of(options(server.url), said.append)
            task = asyncio.create_task(run.serve(router, listener, 60.0))
            while not router.endpoints.endpoints[0].is_ready:
                await asyncio.sleep(0.01)
            asking = asyncio.create_task(client.post(url, json={"model": "tiny"}))
            await server.arrived.wait()
            os.kill(os.getpid(), signal.SIGTERM)
            while not router.proxy.is_draining:
                await asyncio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)
            response = await asking
            assert (response.status_code, "shutting down" in response.text) == (503, True)
            assert await task == 0
    assert said[-1] == "stopped: 1 request cut off"


async def test_an_operator_manages_endpoints_on_another_port(said: list[str]) -> None:
    fields = {"admin_port": 0, "admin_key": "operator", "api_key": "client"}
    async with fake_servers(1) as (server,), httpx2.AsyncClient() as client:
        with listen("127.0.0.1", 0) as listener, listen("127.0.0.1", 0) as admin_listener:
            admin = f"http://127.0.0.1:{admin_listener.getsockname()[1]}/endpoints"
            router = RunningRouter.of(options(**fields), said.append)
            task = asyncio.create_task(run.serve(router, listener, 5.0, None, admin_listener))
            headers = {"authorization": "Bearer operator"}
            assert (await client.get(admin)).status_code == 401
            wrong = {"authorization": "Bearer client"}
            assert (await client.get(admin, headers=wrong)).status_code == 401
            added = await client.post(admin, json={"url": server.url}, headers=headers)
            assert added.status_code == 201
            while not router.endpoints.candidates("tiny"):
                await asyncio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)
            assert await task == 0
    assert f"endpoint r0 ({server.url}) joined" in said
    assert any(text.startswith("endpoints are managed at http://127.0.0.1:") for text in said)
