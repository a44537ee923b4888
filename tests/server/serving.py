"""uvicorn's HTTP around a fake engine, in the test's own event loop; test_run.py has the server around it."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from typing import Any

import httpx2
from uvicorn.server import ServerState

from octavo.http.listener import listen
from octavo.http.process import HttpServer
from tests.fakes import FakeEngine, FakeReplica, fake_replica


@contextlib.asynccontextmanager
async def serving(engine: FakeEngine, **options: Any) -> AsyncIterator[tuple[FakeReplica, str]]:
    """(replica, its URL) while the server runs on a free port."""
    replica = fake_replica(engine, **options)
    await replica.readiness.record()
    listener = listen("127.0.0.1", 0)
    config = HttpServer.of(replica.app).config
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    protocol = functools.partial(
        config.http_protocol_class,  # type: ignore[arg-type]
        config=config,
        server_state=state,
        app_state={},
    )
    server = await loop.create_server(protocol, sock=listener)
    try:
        yield replica, f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        if state.tasks:
            await asyncio.wait(state.tasks)


@contextlib.asynccontextmanager
async def asgi_client(replica: FakeReplica) -> AsyncIterator[httpx2.AsyncClient]:
    """A client without a socket: answers come whole."""
    transport = httpx2.ASGITransport(app=replica.app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://octavo") as client:
        yield client
