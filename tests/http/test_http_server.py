"""uvicorn as octavo runs it."""

import asyncio
import signal

import httpx2
import pytest

from octavo.http.http_server import HttpServer
from octavo.http.listener import listen
from tests.fakes import FakeEngine, fake_replica

pytestmark = pytest.mark.asyncio


async def test_signals_stay_with_who_runs_it_and_it_ends_when_told() -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    server = HttpServer.of(fake_replica(FakeEngine()).app)
    with listen("127.0.0.1", 0) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        async with httpx2.AsyncClient() as client:
            response = await client.get(f"http://127.0.0.1:{listener.getsockname()[1]}/v1/models")
        assert response.status_code == 200
        assert "server" not in response.headers
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
        server.should_exit = True
        await serving
