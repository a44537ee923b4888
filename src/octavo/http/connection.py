"""uvicorn's HTTP/1.1 connection, bounded where it trusts the client: a request that never gets whole, an
answer that is never read, bytes that are no HTTP.

Runs in the server's event loop. What a whole head may hold is gate.py's business, the body body.py's.
"""

import asyncio
import dataclasses
import uuid
from collections.abc import Callable
from typing import Any, cast

from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from octavo.http.errors import ErrorAnswer
from octavo.http.lingering import LingeringTransport
from octavo.http.outlet import AnswerOutlet, attach_outlet
from octavo.http.request_log import request_id_of

MAX_PIPELINED = 100  # requests waiting behind the one that is answered, before nothing more is read


Begin = Callable[[Scope, bytes, AnswerOutlet], bool]
"""Given a request, whole with its body: begins to answer it without a task, and returns True; or does nothing
and returns False. An ASGI application may have one beside __call__."""


@dataclasses.dataclass(frozen=True, slots=True)
class ConnectionLimits:
    max_head_bytes: int = 1 << 16  # that neither end a head nor bring a body, beyond the packet that did
    head_seconds: float = 30.0  # from a connection's start, or a request's first byte, to its whole head
    linger_seconds: float = 2.0  # that a client may go on sending to a connection that is closed
    stall_seconds: float = 60.0  # that a full send buffer, or an ended answer's rest, may be left unread


class Deadline:
    """Calls back once, seconds after start, unless stopped before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._seconds = seconds
        self._callback = callback
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Does not push back a deadline that is already running."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._pass)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pass(self) -> None:
        self._timer = None
        self._callback()


def _never(scope: Scope, body: bytes, outlet: AnswerOutlet) -> bool:
    return False


class HttpConnection(HttpToolsProtocol):
    """One client's connection. Between two requests uvicorn's keep-alive time applies.

    connected, or bytes without an answer under way     head_seconds, then 408 and closed
    send buffer full, or not empty after an answer      stall_seconds, then cut off: the request is aborted
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits or ConnectionLimits()
        self._answering: RequestResponseCycle | None = None  # uvicorn's own `cycle` is the newest request's
        self._outlet: AnswerOutlet | None = None  # of that answer
        self._begin: Begin = getattr(self.app, "begin", _never)
        self._is_parsing = False
        self._is_unbegun = False  # the answer: the packet that brought the head may hold the body, too
        self._is_in_head = False
        self._is_refused = False
        self._num_vain_bytes = 0  # since a head ended or a body came: of heads, trailers, chunk extensions
        self._head_deadline = Deadline(self.loop, self._limits.head_seconds, self._on_no_head)
        self._stall_deadline = Deadline(self.loop, self._limits.stall_seconds, self._on_stall)

    @property
    def _is_answering(self) -> bool:
        return self._answering is not None and not self._answering.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._lingering = LingeringTransport(
            transport, self.loop, self._limits.linger_seconds, self._has_more_to_come
        )
        super().connection_made(cast(asyncio.Transport, self._lingering))
        self._head_deadline.start()

    def _has_more_to_come(self) -> bool:
        """A head that is not whole, a body that nobody read, or what is no HTTP at all. A connection whose
        answer is broken off has nothing to be read in peace.
        """
        has_unread_body = self.cycle is not None and self.cycle.more_body
        return not self._is_answering and (self._is_refused or self._is_in_head or has_unread_body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lingering.ended()
        self._head_deadline.stop()
        self._stall_deadline.stop()
        if self._answering is not None:  # uvicorn tells the newest request only
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)
        if self._outlet is not None:
            self._outlet.on_gone()

    # The request

    def data_received(self, data: bytes) -> None:
        if self._lingering.is_lingering:
            return
        self._num_vain_bytes += len(data)
        self._is_parsing = True
        super().data_received(data)
        self._is_parsing = False
        if self._is_unbegun:
            self._begin_answer()
        if self.transport.is_closing():
            return
        if not self._is_answering:
            self._head_deadline.start()
        if self._num_vain_bytes > self._limits.max_head_bytes:
            limit = self._limits.max_head_bytes
            self._refuse("headers_too_large", f"The request's head or trailer is longer than {limit} bytes.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        self._num_vain_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Trailers look like headers to the parser. Nobody may take them for some."""
        if self._is_in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._num_vain_bytes = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._num_vain_bytes = 0
        self._head_deadline.stop()
        super().on_headers_complete()
        if 0 < len(self.pipeline) <= MAX_PIPELINED:
            self.flow.resume_reading()  # or the client's leaving would go unnoticed

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """What uvicorn calls for a request whose turn it is."""
        self._answering = cycle
        self._outlet = AnswerOutlet(cycle, super()._start_asgi_task)
        cycle.send = self._outlet.send  # type: ignore[method-assign, assignment]
        attach_outlet(cast(dict[str, Any], cycle.scope), self._outlet)
        self._is_unbegun = True

    def _begin_answer(self) -> None:
        """At once, where the request has come whole and the application can; else in a task."""
        cycle, outlet, self._is_unbegun = self._answering, self._outlet, False
        assert cycle is not None and outlet is not None
        is_ready = not cycle.more_body and not self.transport.is_closing()
        scope = cast(dict[str, Any], cycle.scope)
        if not (is_ready and self._begin(scope, bytes(cycle.body), outlet)):
            outlet.go_on(self.app)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_unbegun and not self._is_parsing:  # one that was waiting behind this one
            self._begin_answer()
        if self._is_in_head:
            self._head_deadline.start()
        if self.transport.get_write_buffer_size():  # no more writing will tell whether it is read
            self.transport.set_write_buffer_limits(high=0)

    def _on_no_head(self) -> None:
        if self._is_answering or self.transport.is_closing():
            return
        if self._is_in_head:
            seconds = self._limits.head_seconds
            self._refuse("request_timeout", f"No whole request came within {seconds:g} seconds.")
        else:
            self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """The gate refuses the request and the log says so."""

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls when the parser gives up; msg is uvicorn's."""
        self._refuse("invalid_http", "What came is not a valid HTTP/1.1 request.")

    def _refuse(self, code: str, message: str) -> None:
        """Answer and close, unless an answer is under way already: that one is broken off."""
        if not (self._answering is not None and self._is_answering and self._answering.response_started):
            answer = ErrorAnswer(code, message)
            headers = (
                (b"content-type", b"application/json"),
                (b"content-length", str(len(answer.body)).encode()),
                (b"connection", b"close"),
                (b"x-request-id", uuid.uuid4().hex.encode()),
                *answer.all_headers,
            )
            lines = (b"%b: %b\r\n" % header for header in headers)
            self.transport.write(b"".join((STATUS_LINE[answer.status], *lines, b"\r\n", answer.body)))
        self._is_refused = True
        self.transport.close()

    # The answer

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall_deadline.start()
        if self._outlet is not None:
            self._outlet.is_behind = True

    def resume_writing(self) -> None:
        self._stall_deadline.stop()
        self.transport.set_write_buffer_limits()
        super().resume_writing()
        if self._outlet is not None:
            self._outlet.is_behind = False
            self._outlet.on_room()

    def _on_stall(self) -> None:
        seconds = self._limits.stall_seconds
        self.logger.warning(
            "The client of request %s left its answer unread for %g seconds and was cut off.",
            "-" if self._answering is None else request_id_of(cast(dict[str, Any], self._answering.scope)),
            seconds,
        )
        self.transport.abort()
