"""An answer's bytes on the connection, and what the application is told of its client."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from octavo.http.outlet import AnswerOutlet, outlet_of
from tests.over_socket import over_socket

pytestmark = pytest.mark.asyncio

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
TWO = (b"content-length", b"2")
Answer = Callable[[AnswerOutlet, Send], Awaitable[None]]


class Application:
    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.raised: Exception | None = None
        self.has_ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        outlet = outlet_of(scope)
        assert isinstance(outlet, AnswerOutlet)
        try:
            await self._answer(outlet, send)
        except Exception as error:
            self.raised = error
            raise
        finally:
            self.has_ended.set()


@contextlib.asynccontextmanager
async def asked(
    answer: Answer, request: bytes = GET, **options: Any
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, Application]]:
    app = Application(answer)
    async with over_socket(app, **options) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(request)
        try:
            yield reader, writer, app
        finally:
            writer.close()


async def start(send: Send, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def body(send: Send, data: bytes = b"", *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


def without_date(data: bytes) -> bytes:
    return b"\r\n".join(line for line in data.split(b"\r\n") if not line.startswith(b"date: "))


async def test_a_stream_is_written_in_chunks_whichever_way() -> None:
    async def answer(outlet: AnswerOutlet, send: Send) -> None:
        await start(send, (b"x-a", b"b"))
        outlet.write(b"one")
        await body(send, more=True)
        await body(send, b"two", more=True)
        outlet.write(b"three")
        await body(send, b"four")
        outlet.write(b"too late")

    async with asked(answer) as (reader, _, _):
        data = without_date(await reader.readuntil(b"0\r\n\r\n"))
    assert data == (
        b"HTTP/1.1 200 OK\r\nx-a: b\r\ntransfer-encoding: chunked\r\n\r\n"
        b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n4\r\nfour\r\n0\r\n\r\n"
    )


async def test_the_head_may_leave_alone() -> None:
    has_come = asyncio.Event()

    async def answer(outlet: AnswerOutlet, send: Send) -> None:
        outlet.open()  # there is none yet
        await start(send)
        outlet.open()
        outlet.open()
        await has_come.wait()
        await body(send, b"one")

    async with asked(answer) as (reader, _, _):
        head = without_date(await reader.readuntil(b"\r\n\r\n"))
        assert head == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        has_come.set()
        assert await reader.readuntil(b"0\r\n\r\n") == b"3\r\none\r\n0\r\n\r\n"


async def test_for_a_client_that_knows_no_chunks_a_stream_ends_with_the_connection() -> None:
    async def answer(outlet: AnswerOutlet, send: Send) -> None:
        await start(send)
        outlet.write(b"one")
        await body(send, b"two", more=True)
        await body(send)

    async with asked(answer, GET.replace(b"1.1", b"1.0")) as (reader, _, app):
        data = without_date(await reader.read())
        await app.has_ended.wait()
    assert data == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nonetwo"
    assert app.raised is None


async def test_the_head_waits_for_what_follows() -> None:
    gate = asyncio.Event()

    async def answer(outlet: AnswerOutlet, send: Send) -> None:
        await start(send, TWO)
        await gate.wait()
        await body(send, b"hi")

    async with asked(answer) as (reader, _, _):
        await asyncio.sleep(0.01)
        assert not reader._buffer  # type: ignore[attr-defined]
        gate.set()
        data = await reader.read(1000)
    assert without_date(data) == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


@pytest.mark.parametrize(
    ("request_bytes", "headers", "expected"),
    (
        (GET.replace(b"1.1", b"1.0"), (TWO,), b"connection: close\r\n\r\nhi"),
        (GET, (TWO, (b"connection", b"close")), b"connection: close\r\n\r\nhi"),
        (GET.replace(b"GET", b"HEAD"), (TWO,), b"content-length: 2\r\n\r\n"),
    ),
    ids=("HTTP/1.0", "closed by the application", "HEAD"),
)
async def test_a_connection_is_closed_or_kept_as_is_said(
    request_bytes: bytes, headers: tuple[tuple[bytes, bytes], ...], expected: bytes
) -> None:
    async def answer(outlet: AnswerOutlet, send: Send) -> None:
        await start(send, *headers)
        await body(send, b"hi")

    async with asked(answer, request_bytes) as (reader, writer, app):
        if b"close" not in expected:
            await app.has_ended.wait()
            writer.write(request_bytes.replace(b"Host: x", b"Host: x\r\nConnection: close"))
        data = await reader.read()
    assert expected in data and data.count(b"HTTP/1.1 200 OK") == (1 if b"close" in expected else 2)


async def test_a_status_without_a_body_has_none() -> None:
    async def answer(outlet: AnswerOutlet, send: Send) -> None:
        await start(send, status=204)
        await body(send)

    async with asked(answer) as (reader, _, _):
        assert without_date(await reader.readuntil(b"\r\n\r\n")) == b"HTTP/1.1 204 No Content\r\n\r\n"


async def late(outlet: AnswerOutlet, send: Send) -> None:
    await start(send, TWO)
    await body(send, b"hi")
    await body(send, b"ho")


async def twice(outlet: AnswerOutlet, send: Send) -> None:
    await start(send)
    await start(send)


async def too_short(outlet: AnswerOutlet, send: Send) -> None:
    await start(send, (b"content-length", b"3"))
    await body(send, b"hi")


async def too_long(outlet: AnswerOutlet, send: Send) -> None:
    await start(send, (b"content-length", b"1"))
    await body(send, b"hi", more=True)


async def split(outlet: AnswerOutlet, send: Send) -> None:
    await start(send, (b"x-a", b"b\r\nx-c: d"))


async def split_by_a_line_feed(outlet: AnswerOutlet, send: Send) -> None:
    await start(send, (b"x-a", b"b\nx-c: d"))


@pytest.mark.parametrize("answer", (body, late, twice, too_short, too_long, split, split_by_a_line_feed))
async def test_what_is_no_answer_in_http_is_refused(answer: Any) -> None:
    async def given(outlet: AnswerOutlet, send: Send) -> None:
        await (body(send) if answer is body else answer(outlet, send))

    async with asked(given) as (_, _, app):
        await app.has_ended.wait()
        assert isinstance(app.raised, RuntimeError)


async def test_who_reads_slowly_is_behind_until_there_is_room() -> None:
    room = asyncio.Event()

    async def answer(outlet: AnswerOutlet, send: Send) -> None:
        await start(send)
        outlet.on_room = room.set
        size = 0
        while not outlet.is_behind:
            outlet.write(b"x" * 50_000)
            size += 50_000
        assert size < 50_000_000
        await room.wait()
        assert not outlet.is_behind
        await body(send)

    async with asked(answer, send_buffer_bytes=4096) as (reader, writer, app):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)
        assert not room.is_set()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        end = b""
        while not end.endswith(b"\r\n0\r\n\r\n"):
            end = end[-10:] + await reader.read(1 << 16)
        assert app.has_ended.is_set()


async def test_who_leaves_is_gone() -> None:
    gone = asyncio.Event()

    async def answer(outlet: AnswerOutlet, send: Send) -> None:
        assert not outlet.is_gone
        outlet.on_gone = gone.set
        await start(send)
        outlet.write(b"hi")
        await gone.wait()
        assert outlet.is_gone
        outlet.write(b"ho")
        await body(send, b"ha")

    async with asked(answer) as (reader, writer, app):
        await reader.readuntil(b"hi")
        writer.transport.abort()
        await app.has_ended.wait()
        assert app.raised is None


async def test_who_leaves_before_the_answer_begins_is_sent_nothing() -> None:
    is_gone = asyncio.Event()

    async def answer(outlet: AnswerOutlet, send: Send) -> None:
        outlet.on_gone = is_gone.set
        await is_gone.wait()
        await start(send)
        await body(send, b"one", more=True)
        await body(send, b"two")

    async with asked(answer) as (_, writer, app):
        writer.close()
        await asyncio.wait_for(app.has_ended.wait(), 10)
        assert app.raised is None


async def test_a_request_is_whole_when_its_body_has_come() -> None:
    asked_half = asyncio.Event()

    async def answer(outlet: AnswerOutlet, send: Send) -> None:
        assert not outlet.has_whole_request
        asked_half.set()
        while not outlet.has_whole_request:
            await asyncio.sleep(0)
        await start(send)
        await body(send)

    post = GET.replace(b"GET", b"POST").replace(b"Host: x", b"Host: x\r\nContent-Length: 2")
    async with asked(answer, post + b"{") as (reader, writer, _):
        await asked_half.wait()
        writer.write(b"}")
        await reader.readuntil(b"0\r\n\r\n")
