"""The client against a real socket: what comes back, and what counts as no answer."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from octavo.bench.client import BaseUrl, Client, ExchangeError
from octavo.core.errors import StartError

OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM = (
    OK + b"b\r\ndata: one\n\n\r\n5\r\ndata:\r\n8\r\n two\n\nda\r\na\r\nta: three\n\r\n1\r\n\n\r\n0\r\n\r\n"
)
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
REFUSAL = b"HTTP/1.1 503 No\r\ncontent-length: 5\r\nconnection: close\r\n\r\nbusy!"


class RawServer:
    """Answers each request with the same bytes; is_closing: and then hangs up."""

    def __init__(self) -> None:
        self.answer = b""
        self.is_closing = False
        self.hangs_up_on: set[int] = set()  # requests, by number
        self.requests: list[bytes] = []
        self.num_connections = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                if len(self.requests) in self.hangs_up_on:
                    return writer.close()
                writer.write(self.answer)
                if self.is_closing:
                    writer.close()

    async def close(self) -> None:
        for writer in self.writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest_asyncio.fixture
async def raw() -> AsyncIterator[tuple[RawServer, Client]]:
    server = RawServer()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    client = Client(BaseUrl(f"http://127.0.0.1:{port}/v1"), "secret", time.perf_counter)
    yield server, client
    client.close()
    listener.close()
    await server.close()


async def post(client: Client, body: bytes = b"{}") -> list[bytes]:
    events: list[bytes] = []
    await client.post("/v1/completions", body, lambda data, now: events.append(data))
    return events


@pytest.mark.asyncio
async def test_events_of_a_chunked_answer(raw: tuple[RawServer, Client]) -> None:
    server, client = raw
    server.answer = STREAM
    assert await post(client, b'{"a":1}') == [b"one", b"two", b"three"]
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1:") and body == b'{"a":1}'
    assert b"\r\nauthorization: Bearer secret\r\n" in head


@pytest.mark.asyncio
async def test_a_connection_is_used_again(raw: tuple[RawServer, Client]) -> None:
    server, client = raw
    server.answer = STREAM
    assert await post(client) == await post(client)
    assert server.num_connections == 1
    server.answer = STREAM.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)
    await post(client)
    assert await post(client) == [b"one", b"two", b"three"]
    assert server.num_connections == 2


@pytest.mark.asyncio
async def test_a_connection_that_the_server_closes_when_it_is_used_again_costs_no_request(
    raw: tuple[RawServer, Client],
) -> None:
    server, client = raw
    server.answer = STREAM
    await post(client)
    server.hangs_up_on = {2}
    assert await post(client) == [b"one", b"two", b"three"]
    assert server.num_connections == 2
    server.hangs_up_on = {4, 5}
    with pytest.raises(ExchangeError, match="cut"):  # a new connection as well
        await post(client)


@pytest.mark.asyncio
async def test_a_body(raw: tuple[RawServer, Client]) -> None:
    server, client = raw
    server.answer = PLAIN
    assert await client.get("/v1/models") == b"{}"
    assert server.requests[0].startswith(b"GET /v1/models HTTP/1.1\r\n")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (REFUSAL, "HTTP 503"),
        (REFUSAL.replace(b"503", b"429"), "HTTP 429"),
        (STREAM[:-9], "cut"),
        (b"", "cut"),
        (b"SSH-2.0-OpenSSH\r\n", "no HTTP"),
    ],
)
async def test_what_is_no_answer(raw: tuple[RawServer, Client], answer: bytes, reason: str) -> None:
    server, client = raw
    server.answer, server.is_closing = answer, True
    with pytest.raises(ExchangeError) as raised:
        await post(client)
    assert raised.value.reason == reason
    server.answer, server.is_closing = STREAM, False
    assert len(await post(client)) == 3  # on a connection of its own


@pytest.mark.asyncio
async def test_nobody_listens(raw: tuple[RawServer, Client]) -> None:
    client = Client(BaseUrl("http://127.0.0.1:1"), None, time.perf_counter)
    with pytest.raises(ExchangeError, match="connect"):
        await post(client)


@pytest.mark.asyncio
async def test_who_gives_up_hangs_up(raw: tuple[RawServer, Client]) -> None:
    server, client = raw
    server.answer = OK
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await post(client)
    server.answer = STREAM
    assert len(await post(client)) == 3
    assert server.num_connections == 2


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "is_tls"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1", 8000, "", False),
        ("127.0.0.1:8000/v1", "127.0.0.1", 8000, "", False),
        ("https://api.example.com/v1/", "api.example.com", 443, "", True),
        ("http://host/deep/v1", "host", 80, "/deep", False),
        ("http://[::1]:81", "::1", 81, "", False),
    ],
)
def test_urls(url: str, host: str, port: int, path: str, is_tls: bool) -> None:
    base = BaseUrl(url)
    assert (base.host, base.port, base.path, base.is_tls) == (host, port, path, is_tls)


@pytest.mark.parametrize("url", ["", "ftp://host", "http://", "http://host:port", "http://host?x=1"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(StartError, match="allowed: one like"):
        BaseUrl(url)
