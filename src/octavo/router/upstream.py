"""All of the router's connections to one endpoint: made, used, kept for the next question.

Knows nothing of routing. Runs in the router's event loop.
"""

import asyncio
import collections
import ssl
import time
from collections.abc import Iterable

import msgspec

from octavo.core.relay import CHANNEL_HEADER
from octavo.http.headers import Header
from octavo.router.address import Address
from octavo.router.channel import Channel
from octavo.router.upstream_connection import Answer, Connection, UpstreamError

MAX_IDLE_SECONDS = 4.0  # less than servers keep an idle connection open: often 5, as uvicorn does
MAX_IDLE_CONNECTIONS = 256
SILENCE_SECONDS = 30  # of who acknowledges nothing; health.py is sooner, where it meets the same machine


class Question(msgspec.Struct, frozen=True):
    """headers must name neither Host nor Content-Length. seconds: to the answer's head, if nothing comes.
    lines: more headers, as they are sent. takes_channel: a stream that answers it may come by the endpoint's
    channel."""

    method: str
    path: str
    headers: Iterable[Header]
    body: bytes
    seconds: float
    lines: bytes = b""
    takes_channel: bool = False


class Upstream:
    """All connections to one address."""

    def __init__(
        self, address: Address, *, connect_seconds: float = 2.0, silence_seconds: int = SILENCE_SECONDS
    ) -> None:
        self.address = address
        self.channel: Channel | None = None  # while there is one
        self._host = f"host: {address.authority}\r\n".encode()
        self._connect_seconds = connect_seconds
        self._silence_seconds = silence_seconds
        self._tls = ssl.create_default_context() if address.is_tls else None
        self._idle: collections.deque[tuple[float, Connection]] = collections.deque()

    async def request(
        self, method: str, path: str, headers: Iterable[Header], body: bytes, *, seconds: float
    ) -> Answer:
        """Send, and wait up to seconds for the answer's head. Raises UpstreamError.

        headers must name neither Host nor Content-Length. Nothing is sent twice: an endpoint that ends a kept
        connection just then is as good as one that died of the request.
        """
        return await self.ask(Question(method, path, headers, body, seconds))

    async def ask(self, question: Question) -> Answer:
        """Send, and wait for the answer's head. Raises UpstreamError."""
        connection = self._take_idle() or await self._connect()
        self._send(connection, question)
        return await connection.answer()

    def ask_at_once(self, question: Question) -> Connection | None:
        """On a connection that is idle, which then has the answer(). None: there is none."""
        connection = self._take_idle()
        if connection is not None:
            self._send(connection, question)
        return connection

    def _send(self, connection: Connection, question: Question) -> None:
        ticket = connection.begin(self.channel if question.takes_channel else None)
        way = () if ticket is None else ((CHANNEL_HEADER, ticket.header),)
        connection.send(self._rendered(question, way), question.seconds)

    def _rendered(self, question: Question, way: Iterable[Header]) -> bytes:
        lines = [b"%b: %b\r\n" % header for header in (*question.headers, *way)]
        first = f"{question.method} {self.address.path}{question.path} HTTP/1.1\r\n".encode()
        length = b"content-length: %d\r\n\r\n" % len(question.body)
        return b"".join((first, self._host, question.lines, *lines, length, question.body))

    def _take_idle(self) -> Connection | None:
        oldest = time.monotonic() - MAX_IDLE_SECONDS
        while self._idle:
            since, connection = self._idle.pop()
            if not connection.is_closed and since >= oldest:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        address = self.address
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, connection = await asyncio.get_running_loop().create_connection(
                    self._new_connection, address.host, address.port, ssl=self._tls
                )
        except TimeoutError:
            seconds = self._connect_seconds
            raise UpstreamError(
                "connect", f"{address.authority} did not answer within {seconds:g} s"
            ) from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise UpstreamError("connect", f"cannot connect to {address.authority}: {reason}") from None
        return connection

    def _new_connection(self) -> Connection:
        return Connection(self._keep, self._silence_seconds)

    def _keep(self, connection: Connection) -> None:
        if len(self._idle) >= MAX_IDLE_CONNECTIONS:
            connection.abort()
        else:
            self._idle.append((time.monotonic(), connection))

    def close(self) -> None:
        """Idle connections end; those in use end with their answers."""
        while self._idle:
            self._idle.pop()[1].abort()
