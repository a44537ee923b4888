"""An answer on its way to the client: ASGI's send, and a shorter way.

send is a coroutine: for each piece of a stream a task would have to be woken that awaits it, which costs
several times what the piece does. So an answer may be written straight to its connection. Either way the head
waits for what follows it, as ASGI wants it, and both leave in one packet.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from starlette.types import ASGIApp, Message, Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from octavo.http.headers import Header, Headers
from octavo.http.silence import limit_silence

_SCOPE_KEY = "octavo.outlet"
_BODILESS = (204, 304)  # statuses
_CHUNK = b"%b%x\r\n%b\r\n"  # what leaves in front of it, its length, its bytes; a call less for each token
_LAST_CHUNK = b"0\r\n\r\n"


class Outlet(Protocol):
    on_room: Callable[[], None]
    """Called when it is no longer behind."""
    on_gone: Callable[[], None]
    """Called when the connection has ended, whether the answer has or not."""
    on_end: Callable[[], None]
    """Called when the answer has ended, if its connection has not before."""

    @property
    def is_behind(self) -> bool:
        """The client reads more slowly than it was written to: write no more until there is room."""
        ...

    @property
    def is_gone(self) -> bool: ...

    @property
    def has_whole_request(self) -> bool:
        """Its body has come: receive gives it without a wait."""
        ...

    def open(self) -> None:
        """The head leaves now, alone. Without effect where it has left."""
        ...

    def limit_silence(self, seconds: int) -> None:
        """The connection ends once its other end has acknowledged nothing for so long. Without effect once it
        is gone."""
        ...

    def write(self, data: bytes) -> None:
        """Some more of the body, not empty. Without effect once the client is gone."""
        ...

    def abort(self) -> None:
        """The connection ends now, in the middle of the answer. Without effect after its end."""
        ...


class AnswerOutlet:
    """Of one request on uvicorn's connection, in place of uvicorn's own."""

    # With hundreds of streams under way nothing of one is in the processor's caches when its event comes: to
    # fetch an object costs more than what is done with it. So what an event needs is here, and not where it
    # came from.
    __slots__ = (
        "_cycle", "_ends_with_connection", "_has_chunks", "_head", "_run", "_transport", "_write",
        "is_behind", "is_gone", "on_end", "on_gone", "on_room", "page_headers",
    )  # fmt: skip

    # The cycle has its request's scope, which has this outlet, and so may have who is called back: at the end
    # of the answer these rings are opened.
    def __init__(self, cycle: RequestResponseCycle, run: Callable[[RequestResponseCycle, Any], None]) -> None:
        """run: calls an application for the request, in a task of its own."""
        self.on_room: Callable[[], None] = _nobody_waits
        self.on_gone: Callable[[], None] = _nobody_waits
        self.on_end: Callable[[], None] = _nobody_waits
        self.is_behind = cycle.flow.write_paused  # kept by the connection
        self.is_gone = cycle.disconnected  # or the answer has ended
        self.page_headers: Headers = ()  # that let a web page read what start() begins; send's are given them
        self._cycle: RequestResponseCycle | None = cycle  # None: the answer has ended
        self._run = run
        self._transport = cycle.transport
        self._write = cycle.transport.write
        self._head = b""  # until it leaves
        self._has_chunks = False
        self._ends_with_connection = False

    @property
    def has_whole_request(self) -> bool:
        return self._cycle is not None and not self._cycle.more_body

    async def send(self, message: Message) -> None:
        """ASGI's. Raises RuntimeError: what is sent is no answer in HTTP. Without effect once the client is
        gone, also for an answer that begins then."""
        cycle, kind = self._cycle, message["type"]
        if cycle is not None and self.is_gone:
            return
        if cycle is None or (kind == "http.response.start") == cycle.response_started:
            raise RuntimeError(f"{kind} is out of order.")
        if self.is_behind:
            await cycle.flow.drain()
            if self.is_gone:
                return
        if kind == "http.response.start":
            self._start(cycle, message["status"], message.get("headers", ()))
        else:
            self._send_body(cycle, message.get("body", b""), has_more=message.get("more_body", False))

    def go_on(self, app: ASGIApp) -> None:
        """What is left to do of the request needs a task: app, as any application. Once."""
        if self._cycle is not None:
            self._run(self._cycle, app)

    def start(self, status: int, headers: Iterable[Header]) -> None:
        """The answer's head, once. Raises RuntimeError: it is none in HTTP. Without effect once the client
        is gone, as all that follows."""
        if self.page_headers:
            others = [header for header in headers if not header[0].startswith(b"access-control-")]
            headers = (*others, *self.page_headers)
        if self._cycle is not None and not self.is_gone:
            self._start(self._cycle, status, headers)

    def end(self, data: bytes = b"") -> None:
        """The last piece of the body, or all of it. Raises RuntimeError: that is not its content-length."""
        if self._cycle is not None and not self.is_gone:
            self._send_body(self._cycle, data, has_more=False)

    def open(self) -> None:
        if self._head and not self.is_gone:
            self._write(self._head)
            self._head = b""

    def limit_silence(self, seconds: int) -> None:
        if not self.is_gone and not self._transport.is_closing():
            limit_silence(self._transport.get_extra_info("socket"), seconds)

    def write(self, data: bytes) -> None:
        if self.is_gone:
            return
        if self._has_chunks:
            self._write(_CHUNK % (self._head, len(data), data))
        else:
            assert self._ends_with_connection, "a stream has no content-length"
            self._write(self._head + data)
        self._head = b""

    def abort(self) -> None:
        if self._cycle is not None:
            self._transport.abort()

    def lose(self) -> None:
        """The connection has ended."""
        self.is_gone = True
        self.on_gone()

    def _start(self, cycle: RequestResponseCycle, status: int, headers: Iterable[Header]) -> None:
        cycle.response_started = True
        cycle.waiting_for_100_continue = False
        lines = [*cycle.default_headers, *headers]
        fields = dict(lines)
        if b"content-length" in fields:
            cycle.expected_content_length = int(fields[b"content-length"])
            cycle.chunked_encoding = False
        elif fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            cycle.chunked_encoding = True
        if b"close" in fields.get(b"connection", b"").lower():
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            lines.append((b"connection", b"close"))
        if cycle.chunked_encoding is None and cycle.scope["method"] != "HEAD" and status not in _BODILESS:
            self._ends_with_connection = cycle.scope["http_version"] == "1.0"  # which knows no chunks
            if not self._ends_with_connection:
                cycle.chunked_encoding = True
                lines.append((b"transfer-encoding", b"chunked"))
        head = b"".join([b"%b: %b\r\n" % line for line in lines])
        if not head.count(b"\r") == head.count(b"\n") == len(lines) or b"\0" in head:
            raise RuntimeError("A header's name or value has more than one line.")
        self._has_chunks = bool(cycle.chunked_encoding)
        self._head = b"%b%b\r\n" % (STATUS_LINE[status], head)

    def _send_body(self, cycle: RequestResponseCycle, body: bytes, *, has_more: bool) -> None:
        if cycle.scope["method"] == "HEAD":
            body, cycle.expected_content_length = b"", 0
        elif self._has_chunks:
            chunk = _CHUNK % (b"", len(body), body) if body else b""
            body = chunk if has_more else chunk + _LAST_CHUNK
        elif not self._ends_with_connection:
            cycle.expected_content_length -= len(body)
            if cycle.expected_content_length < 0 or (cycle.expected_content_length and not has_more):
                raise RuntimeError("The body's length is not its content-length.")
        self._write(self._head + body)
        self._head = b""
        if not has_more:
            self._end(cycle)

    def _end(self, cycle: RequestResponseCycle) -> None:
        self._cycle, self.is_gone = None, True
        on_end = self.on_end
        self.on_room = self.on_gone = self.on_end = _nobody_waits
        if on_end is not _nobody_waits:  # a call less for each request
            on_end()
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._transport.close()
        cycle.on_response()


def attach_outlet(scope: Scope, outlet: Outlet) -> None:
    scope[_SCOPE_KEY] = outlet


def outlet_of(scope: Scope) -> Outlet | None:
    """None: another server's request than ours."""
    outlet: Outlet | None = scope.get(_SCOPE_KEY)
    return outlet


def _nobody_waits() -> None:
    pass
