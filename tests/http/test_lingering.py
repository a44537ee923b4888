"""Closed at once, or after the other side has ended, or has had its time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast

import pytest

from octavo.http.lingering import LingeringTransport

pytestmark = pytest.mark.asyncio


class Server(asyncio.Protocol):
    """Answers the first bytes, closes, and drops the rest."""

    def __init__(self, seconds: float, *, needs_it: bool) -> None:
        self._seconds = seconds
        self._needs_it = needs_it
        self.was_lost = asyncio.Event()
        self.num_dropped = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = LingeringTransport(
            cast(asyncio.Transport, transport),
            asyncio.get_running_loop(),
            self._seconds,
            lambda: self._needs_it,
        )

    def data_received(self, data: bytes) -> None:
        if self.transport.is_lingering:
            self.num_dropped += len(data)
            return
        self.transport.write(b"no")
        self.transport.close()
        self.transport.close()
        assert self.transport.is_closing()

    def connection_lost(self, error: Exception | None) -> None:
        self.transport.ended()
        self.was_lost.set()


@contextlib.asynccontextmanager
async def connected(server: Server) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    listening = await asyncio.get_running_loop().create_server(lambda: server, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
    yield reader, writer
    writer.transport.abort()
    listening.close()


async def test_the_answer_is_read_though_more_is_coming() -> None:
    server = Server(30.0, needs_it=True)
    async with connected(server) as (reader, writer):
        writer.write(b"x")
        assert await reader.read() == b"no"
        writer.write(b"y" * 1_000_000)
        await writer.drain()
        assert not server.was_lost.is_set()
        writer.write_eof()
        await server.was_lost.wait()
    assert server.num_dropped == 1_000_000


async def test_a_side_that_does_not_end_is_closed_in_time() -> None:
    server = Server(0.02, needs_it=True)
    async with connected(server) as (reader, writer):
        writer.write(b"x")
        assert await reader.read() == b"no"
        await server.was_lost.wait()


async def test_without_need_it_is_closed_at_once() -> None:
    server = Server(30.0, needs_it=False)
    async with connected(server) as (reader, writer):
        writer.write(b"x")
        assert await reader.read() == b"no"
        await server.was_lost.wait()
