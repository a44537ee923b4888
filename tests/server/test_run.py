"""The server's life: how it starts, drains and stops, and its exit code."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import httpx2
import pytest
import pytest_asyncio

from octavo.core.errors import StartError
from octavo.core.request import FinishReason
from octavo.http import process
from octavo.http.listener import listen
from octavo.http.process import StopSignals
from octavo.server import run
from octavo.server.boot_report import Phases
from octavo.server.replica import Replica
from octavo.server.served_model import ServedModel
from octavo.text.chat_abilities import ChatAbilities
from tests.fakes import FakeEngine, fake_replica, send

pytestmark = pytest.mark.asyncio

BODY = {"model": "tiny", "prompt": "hi"}


async def serve(options: Any, listener: socket.socket) -> int:
    engine: Any = asyncio.get_running_loop().create_future()
    return await run.serve(options, listener, Phases(), StopSignals(), engine)


class Server:
    """run.serve around a fake engine, in a task."""

    def __init__(self, drain_seconds: float) -> None:
        self.engine = FakeEngine(None)
        self.said: list[str] = []
        self._drain_seconds = drain_seconds

    async def start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fake = fake_replica(self.engine)
        model = ServedModel(("tiny",), 0, 64)
        replica = Replica(cast(Any, self.engine), fake.drain, model, ChatAbilities(), fake.app)

        async def start_replica(options: object, engine: object, phases: Phases) -> Replica:
            return replica

        is_ready = asyncio.Event()
        monkeypatch.setattr(run, "start_replica", start_replica)
        monkeypatch.setattr(run, "_settle", lambda replica: is_ready.set())
        for module in (run, process):
            monkeypatch.setattr(module, "say", self.said.append)
        listener = listen("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/completions"
        self.task = asyncio.create_task(serve(Options(self._drain_seconds), listener))
        await is_ready.wait()

    async def ask(self) -> httpx2.Response:
        async with httpx2.AsyncClient() as client:
            return await client.post(self.url, json=BODY)


class Options:
    """What run.serve reads of ServeOptions."""

    names = ("tiny",)

    def __init__(self, drain_seconds: float) -> None:
        self.server = type("Server", (), {"drain_seconds": drain_seconds})


@pytest_asyncio.fixture
async def start(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Any]]:
    servers: list[Server] = []

    async def start(drain_seconds: float = 30.0) -> Server:
        server = Server(drain_seconds)
        await server.start(monkeypatch)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.task.cancel()
        await asyncio.gather(server.task, return_exceptions=True)


def kill(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", (signal.SIGTERM, signal.SIGINT))
async def test_a_signal_lets_running_answers_finish(start: Any, number: signal.Signals) -> None:
    server = await start()
    running = asyncio.create_task(server.ask())
    await server.engine.arrived.wait()
    kill(number)
    while len(server.said) < 2:
        await asyncio.sleep(0)
    assert (await server.ask()).json()["error"]["code"] == "shutting_down"
    send(server.engine.streams[0], b"bye", FinishReason.STOP)
    assert (await running).json()["choices"][0]["text"] == "bye"
    assert await server.task == 0
    assert server.said[1:] == [
        "shutting down: up to 30 s for 1 request; Ctrl-C again stops at once",
        "stopped",
    ]
    assert server.engine.is_closed


@pytest.mark.parametrize("is_told_twice", (True, False), ids=("second signal", "drain time over"))
async def test_what_does_not_finish_is_cut_off_and_told_so(start: Any, is_told_twice: bool) -> None:
    server = await start(drain_seconds=30.0 if is_told_twice else 0.02)
    running = asyncio.create_task(server.ask())
    await server.engine.arrived.wait()
    kill(signal.SIGTERM)
    if is_told_twice:
        while len(server.said) < 2:
            await asyncio.sleep(0)
        kill(signal.SIGTERM)
    response = await running
    assert (response.status_code, response.json()["error"]["code"]) == (503, "shutting_down")
    assert await server.task == 0
    assert server.said[-1] == "stopped: 1 request cut off"


async def test_an_engine_that_is_gone_for_good_ends_the_server(start: Any) -> None:
    server = await start()
    server.engine.fatal.set_result("The engine failed 5 times in a row.")
    assert await server.task == run.EXIT_ENGINE_GONE
    assert server.said[-1] == "octavo: The engine failed 5 times in a row."


async def test_a_signal_during_the_start_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    is_starting, was_cancelled = asyncio.Event(), asyncio.Event()

    async def start_replica(options: object, engine: object, phases: Phases) -> Replica:
        is_starting.set()
        try:
            await asyncio.Event().wait()
        finally:
            was_cancelled.set()
        raise AssertionError

    monkeypatch.setattr(run, "start_replica", start_replica)
    with listen("127.0.0.1", 0) as listener:
        task = asyncio.create_task(serve(Options(1), listener))
        await is_starting.wait()
        kill(signal.SIGTERM)
        assert await task == 0
    assert was_cancelled.is_set()


async def test_a_start_that_takes_its_time_says_what_it_is_at(monkeypatch: pytest.MonkeyPatch) -> None:
    said: asyncio.Queue[str] = asyncio.Queue()

    async def start_replica(options: object, engine: object, phases: Phases) -> Replica:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(run, "start_replica", start_replica)
    monkeypatch.setattr(run, "say", said.put_nowait)
    monkeypatch.setattr(run, "SILENCE_SECONDS", 0.01)
    with listen("127.0.0.1", 0) as listener:
        task = asyncio.create_task(serve(Options(1), listener))
        assert (await said.get()).startswith("loading tiny ... ")
        kill(signal.SIGTERM)
        assert await task == 0


async def test_a_start_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start_replica(options: object, engine: object, phases: Phases) -> Replica:
        raise StartError("The file is truncated.")

    monkeypatch.setattr(run, "start_replica", start_replica)
    with listen("127.0.0.1", 0) as listener, pytest.raises(StartError, match="truncated"):
        await serve(Options(1), listener)
