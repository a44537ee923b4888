"""HTTP/1.1 from the load generator's side: requests, and the moment each event of an answer arrived.

Does as little as it can for each chunk: a C parser for HTTP, a split for events, the clock read once for what
one read of the socket brought. Connections are kept and reused; nothing is ever sent twice.
"""

import asyncio
import collections
import ssl
import urllib.parse
from collections.abc import Callable
from typing import cast

import httptools

from octavo.bench.events import EventParser
from octavo.core.errors import StartError

Clock = Callable[[], float]
OnEvent = Callable[[bytes, float], None]  # data of an event, and when it arrived

MAX_ERROR_BYTES = 4096  # of a refusal, kept to say why


class ExchangeError(Exception):
    """There was no whole answer. reason is short and the same for all of a kind: "connect", "cut", ..."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BaseUrl:
    """Where an OpenAI-compatible server is: http(s)://host[:port][/path], with or without its /v1."""

    def __init__(self, url: str) -> None:
        """Raises StartError."""
        parts = urllib.parse.urlsplit(url if "//" in url else f"http://{url}")
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.query:
            raise StartError(f"--base-url is {url!r}; allowed: one like http://127.0.0.1:8000.")
        self.host = parts.hostname
        self.is_tls = parts.scheme == "https"
        self.port = port or (443 if self.is_tls else 80)
        self.path = parts.path.rstrip("/").removesuffix("/v1")
        self.netloc = parts.netloc.rpartition("@")[2]


class Client:
    """All connections to one server."""

    def __init__(self, base: BaseUrl, api_key: str | None, clock: Clock) -> None:
        self._base = base
        self._clock = clock
        self._tls = ssl.create_default_context() if base.is_tls else None
        self._idle: collections.deque[_Connection] = collections.deque()
        authorization = f"authorization: Bearer {api_key}\r\n" if api_key else ""
        self._head = (
            f"host: {base.netloc}\r\naccept: */*\r\nuser-agent: octavo-bench\r\n"
            f"content-type: application/json\r\n{authorization}"
        )

    async def post(self, path: str, body: bytes, on_event: OnEvent) -> None:
        """Send, and hand over the events of the answer until it has ended. Raises ExchangeError."""
        await self._exchange("POST", path, body, on_event)

    async def get(self, path: str) -> bytes:
        """The body of an answer. Raises ExchangeError."""
        return await self._exchange("GET", path, b"", None)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _exchange(self, method: str, path: str, body: bytes, on_event: OnEvent | None) -> bytes:
        head = f"{method} {self._base.path}{path} HTTP/1.1\r\n{self._head}content-length: {len(body)}\r\n\r\n"
        data = head.encode() + body
        if (idle := self._take_idle()) is not None:
            try:
                return await self._exchange_on(idle, data, on_event)
            except ExchangeError:
                if idle.has_answered:
                    raise  # else the server has closed it meanwhile, as it may: on a new one then
        return await self._exchange_on(await self._connect(), data, on_event)

    async def _exchange_on(self, connection: "_Connection", data: bytes, on_event: OnEvent | None) -> bytes:
        try:
            answer = await connection.exchange(data, on_event)
        except BaseException:
            connection.close()
            raise
        if connection.can_be_reused:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def _take_idle(self) -> "_Connection | None":
        while self._idle:
            connection = self._idle.pop()
            if connection.can_be_reused:
                return connection
        return None

    async def _connect(self) -> "_Connection":
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self._clock), self._base.host, self._base.port, ssl=self._tls
            )
        except OSError:
            raise ExchangeError("connect") from None
        return connection


class _Connection(asyncio.Protocol):
    """One exchange at a time. httptools calls the on_ methods while it is fed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self.can_be_reused = False
        self.has_answered = False  # with a byte at least, to the last exchange

    async def exchange(self, data: bytes, on_event: OnEvent | None) -> bytes:
        assert self._transport is not None
        self.can_be_reused = self.has_answered = False
        self._parser = httptools.HttpResponseParser(self)
        self._events = EventParser()
        self._on_event = on_event
        self._body: list[bytes] = []
        self._num_body_bytes = 0
        self._now = 0.0
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return await self._answer

    def close(self) -> None:
        self.can_be_reused = False
        if self._transport is not None:
            self._transport.close()

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._now = self._clock()
        self.has_answered = True
        if self._answer is None or self._answer.done():
            return self.close()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail("no HTTP")

    def connection_lost(self, error: Exception | None) -> None:
        self.can_be_reused = False
        self._fail("cut")

    def _fail(self, reason: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ExchangeError(reason))

    # httptools calls these

    def on_body(self, data: bytes) -> None:
        if self._parser.get_status_code() == 200 and self._on_event is not None:
            for event in self._events.feed(data):
                self._on_event(event, self._now)
        elif self._on_event is None or self._num_body_bytes < MAX_ERROR_BYTES:
            self._body.append(data)
            self._num_body_bytes += len(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        self.can_be_reused = bool(self._parser.should_keep_alive())
        assert self._answer is not None
        if status == 200:
            self._answer.set_result(b"".join(self._body))
        else:
            self._answer.set_exception(ExchangeError(f"HTTP {status}"))
