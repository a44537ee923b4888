"""What a client can do to a connection short of HTTP: dribble, babble, and never read."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from octavo.http.connection import MAX_PIPELINED, ConnectionLimits, HttpConnection
from octavo.http.errors import ErrorAnswer
from octavo.http.outlet import AnswerOutlet
from octavo.http.responses import send_error
from tests.over_socket import over_socket

pytestmark = pytest.mark.asyncio

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
PATIENT = ConnectionLimits()


class Application:
    """Answers ok; an endless one goes on until its client is gone."""

    def __init__(self, *, is_endless: bool = False) -> None:
        self._is_endless = is_endless
        self.has_started = asyncio.Event()
        self.was_cut_off = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        self.has_started.set()
        if self._is_endless:
            gone = asyncio.create_task(_wait(receive))
            while not gone.done():
                await send({"type": "http.response.body", "body": b"ok" * 8192, "more_body": True})
                await asyncio.sleep(0)
            self.was_cut_off.set()
        await send({"type": "http.response.body", "body": b"ok"})


async def _wait(receive: Receive) -> None:
    await receive()


@contextlib.asynccontextmanager
async def connected(
    app: ASGIApp, limits: ConnectionLimits = PATIENT
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with over_socket(app, limits) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        try:
            yield reader, writer
        finally:
            writer.close()


async def refusal(reader: asyncio.StreamReader) -> tuple[int, str]:
    """(status, code) of the answer, which ends with the connection."""
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head and b"x-request-id: " in head
    assert b"connection: close" in head
    return int(head.split()[1]), json.loads(body)["error"]["code"]


@pytest.mark.parametrize(
    "babble",
    (
        b"\x16\x03\x01\x02\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ),
    ids=("tls", "http/2", "two lengths", "bad chunk"),
)
async def test_what_is_no_http_is_answered_in_json(babble: bytes) -> None:
    async with connected(Application()) as (reader, writer):
        writer.write(babble)
        assert await refusal(reader) == (400, "invalid_http")


async def test_babble_does_not_end_up_in_an_answer_under_way() -> None:
    app = Application(is_endless=True)
    async with connected(app) as (reader, writer):
        writer.write(GET)
        await app.has_started.wait()
        writer.write(b"\x00\x01\x02")
        assert b"invalid_http" not in await reader.read()
        await app.was_cut_off.wait()


@pytest.mark.parametrize(
    ("start", "more"),
    (
        (b"GET / HTTP/1.1\r\nX: ", b"a" * 100),
        (b"", b"\r\n" * 50),
        (CHUNKED + b"0\r\nX: ", b"a" * 100),
        (CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: a\r\n" * 20),
        (CHUNKED + b"2;", b"a" * 100),
    ),
    ids=("head", "empty lines", "trailer", "trailers", "chunk extension"),
)
async def test_what_is_neither_a_whole_head_nor_a_body_is_refused_at_its_limit(
    start: bytes, more: bytes
) -> None:
    async with connected(Application(), ConnectionLimits(max_head_bytes=1000)) as (reader, writer):
        writer.write(start)
        for _ in range(11):
            await asyncio.sleep(0.001)  # as packets of their own
            writer.write(more)
        assert await refusal(reader) == (431, "headers_too_large")


async def test_a_long_body_in_small_chunks_is_none_of_that() -> None:
    async with connected(Application(), ConnectionLimits(max_head_bytes=100)) as (reader, writer):
        writer.write(CHUNKED)
        for _ in range(100):
            writer.write(b"1\r\na\r\n")
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_trailers_are_no_headers() -> None:
    headers: list[tuple[bytes, bytes]] = []

    async def collect(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        headers.extend(scope["headers"])
        await send_error(send, ErrorAnswer("not_found", "No."))

    async with over_socket(collect) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(CHUNKED + b"0\r\napi-key: secret\r\nHost: y\r\n\r\n")
        await reader.readuntil(b"}}")
        writer.close()
    assert headers == [(b"host", b"x"), (b"transfer-encoding", b"chunked")]


@pytest.mark.parametrize(
    "start", (b"GET / HTTP/1.1\r\n", GET + b"GET / HT"), ids=("first", "after an answer")
)
async def test_a_head_that_does_not_come_is_refused_in_time(start: bytes) -> None:
    async with connected(Application(), ConnectionLimits(head_seconds=0.05)) as (reader, writer):
        writer.write(start)
        answers = await reader.read()
        assert answers.count(b"HTTP/1.1 408 ") == 1
        assert answers.endswith(b'"code":"request_timeout"}}')


async def test_a_connection_on_which_nothing_comes_is_closed_without_a_word() -> None:
    async with connected(Application(), ConnectionLimits(head_seconds=0.01)) as (reader, _):
        assert await reader.read() == b""


async def test_an_answer_that_nobody_reads_is_cut_off() -> None:
    app = Application(is_endless=True)
    async with connected(app, ConnectionLimits(stall_seconds=0.02)) as (_, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(GET)
        await app.was_cut_off.wait()


@pytest.mark.parametrize("close", (b"", b"Connection: close\r\n"))
async def test_the_rest_of_an_answer_that_nobody_reads_does_not_stay(close: bytes) -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"50000")]})
        await send({"type": "http.response.body", "body": b"x" * 50_000})

    limits = ConnectionLimits(stall_seconds=0.2)
    async with over_socket(answer, limits, send_buffer_bytes=4096) as served:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", served.port))
        await loop.sock_sendall(client, GET[:-2] + close + b"\r\n")
        while not served.state.connections:
            await asyncio.sleep(0)
        while served.state.connections:
            await asyncio.sleep(0.01)
        client.close()


async def test_an_answer_that_is_read_in_time_is_not_cut_off() -> None:
    app = Application(is_endless=True)
    async with connected(app, ConnectionLimits(stall_seconds=30)) as (reader, writer):
        writer.write(GET)
        await reader.readexactly(1 << 22)  # the send buffer was full in between
        assert not app.was_cut_off.is_set()


async def test_who_leaves_with_more_requests_sent_is_noticed_too() -> None:
    app = Application(is_endless=True)
    async with connected(app) as (_, writer):
        writer.write(GET)
        await app.has_started.wait()
        writer.write(GET)
        await asyncio.sleep(0.01)  # as a packet of its own
        writer.transport.abort()
        await app.was_cut_off.wait()


async def test_behind_a_hundred_requests_nothing_more_is_read() -> None:
    app = Application(is_endless=True)
    async with over_socket(app) as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(GET)
        await app.has_started.wait()
        (connection,) = served.state.connections
        assert isinstance(connection, HttpConnection)
        for number in range(1, MAX_PIPELINED + 2):
            assert connection.transport.is_reading()
            writer.write(GET)
            while len(connection.pipeline) < number:
                await asyncio.sleep(0)
        assert not connection.transport.is_reading()
        writer.transport.abort()


async def test_who_ends_its_sending_side_is_taken_to_have_left() -> None:
    """As by uvicorn, nginx and Node: on the wire there is no difference, before something is sent."""
    app = Application(is_endless=True)
    async with connected(app) as (reader, writer):
        writer.write(GET)
        await app.has_started.wait()
        writer.write_eof()
        async with asyncio.timeout(10):
            await app.was_cut_off.wait()
        assert not (await reader.read()).endswith(b"0\r\n\r\n")


async def test_who_ends_its_sending_side_gets_what_has_been_answered() -> None:
    answer = b"x" * 4_000_000

    async def long(scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4000000")]}
        )
        await send({"type": "http.response.body", "body": answer})
        has_answered.set()

    has_answered = asyncio.Event()
    async with over_socket(long) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(GET)
        await has_answered.wait()
        writer.write_eof()
        assert (await reader.read()).endswith(answer)
        writer.close()


async def test_an_idle_connection_is_closed() -> None:
    async with over_socket(Application(), keep_alive_seconds=0.01) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(GET)
        assert (await reader.read()).endswith(b"0\r\n\r\n")  # the answer, and then the end
        writer.close()


class Prompt(Application):
    """Answers without a task what it can."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []

    def begin(self, scope: Scope, body: bytes, outlet: AnswerOutlet) -> bool:
        self.bodies.append(body)
        outlet.start(200, ((b"content-length", b"2"),))
        outlet.end(b"ok")
        return True


POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


async def test_a_head_waits_for_its_body_which_comes_in_packets_of_its_own() -> None:
    app = Prompt()
    async with connected(app, ConnectionLimits(pairing_seconds=30)) as (reader, writer):
        for _ in range(3):  # the last of which is recognized
            for packet in (POST, b"1", b"234"):
                writer.write(packet)
                await asyncio.sleep(0.001)
            await reader.readuntil(b"ok")
    assert app.bodies == [b"1234"] * 3 and not app.has_started.is_set()


async def test_a_client_that_goes_on_asking_is_not_taken_to_send_no_head() -> None:
    app = Prompt()
    async with connected(app, ConnectionLimits(head_seconds=0.2)) as (reader, writer):
        for _ in range(15):  # most of them are recognized
            writer.write(POST + b"1234")
            await reader.readuntil(b"ok")
            await asyncio.sleep(0.02)
    assert app.bodies == [b"1234"] * 15


async def test_a_head_that_waits_for_its_body_in_vain_is_answered_in_a_task() -> None:
    app = Prompt()
    async with connected(app, ConnectionLimits(pairing_seconds=0.01)) as (reader, writer):
        writer.write(POST)
        await asyncio.sleep(0.05)
        writer.write(b"1234")
        await reader.readuntil(b"ok")
    assert app.bodies == [] and app.has_started.is_set()


@pytest.mark.parametrize("field", (b"Expect: 100-continue", b"Content-Length: 99999"), ids=("asks", "long"))
async def test_a_head_does_not_wait_for_a_body_that_waits_itself_or_is_long(field: bytes) -> None:
    called = asyncio.Event()

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        called.set()

    async with connected(note, ConnectionLimits(pairing_seconds=30)) as (_, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n" + field + b"\r\n")
        writer.write(b"\r\n" if b"Length" in field else b"Content-Length: 4\r\n\r\n")
        async with asyncio.timeout(10):
            await called.wait()


async def test_who_leaves_between_head_and_body_is_noticed() -> None:
    left = asyncio.Event()

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["type"] == "http.disconnect":
            left.set()

    async with connected(note, ConnectionLimits(pairing_seconds=30)) as (_, writer):
        writer.write(POST)
        await asyncio.sleep(0.001)
        writer.transport.abort()
        async with asyncio.timeout(10):
            await left.wait()


async def test_requests_sent_at_once_are_answered_in_turn() -> None:
    async with connected(Application()) as (reader, writer):
        writer.write(GET * 300)
        for _ in range(300):
            assert await reader.readuntil(b"ok") and await reader.readuntil(b"0\r\n\r\n")


@pytest.mark.parametrize("path", ("/", "/ no"), ids=("by the application", "by the parser"))
async def test_who_is_refused_while_sending_reads_why(path: str) -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await send_error(send, ErrorAnswer("request_too_large", "No."))

    async with over_socket(refuse) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + b" " * 4_000_000)
        answer = await reader.read()
        assert answer.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 ")) and answer.endswith(b"}}")
        writer.close()
