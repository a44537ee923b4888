"""An ASGI application behind a real socket, in the test's own event loop."""

import asyncio
import contextlib
import dataclasses
import functools
import socket
from collections.abc import AsyncIterator

from starlette.types import ASGIApp
from uvicorn.server import ServerState

from octavo.http.connection import ConnectionLimits, HttpConnection
from octavo.http.http_server import KEEP_ALIVE_SECONDS, HttpServer
from octavo.http.listener import listen


@dataclasses.dataclass(frozen=True)
class Served:
    port: int
    state: ServerState  # uvicorn's: connections and tasks

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def over_socket(
    app: ASGIApp,
    limits: ConnectionLimits | None = None,
    *,
    send_buffer_bytes: int | None = None,
    keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
) -> AsyncIterator[Served]:
    """While it runs on a free port. What is still under way at the end is cut off.

    send_buffer_bytes: the kernel's, so that a client that does not read is soon noticed.
    """
    config = HttpServer.of(app).config
    config.timeout_keep_alive = keep_alive_seconds  # type: ignore[assignment]  # passed on as it is
    config.load()
    state = ServerState()
    protocol = functools.partial(
        HttpConnection, config=config, server_state=state, app_state={}, limits=limits
    )
    listener = listen("127.0.0.1", 0)
    if send_buffer_bytes is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
    server = await asyncio.get_running_loop().create_server(protocol, sock=listener)
    try:
        yield Served(listener.getsockname()[1], state)
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        if state.tasks:
            await asyncio.wait(state.tasks)
