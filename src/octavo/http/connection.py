"""uvicorn's HTTP/1.1 connection, bounded where it trusts the client: a request that never gets whole, an
answer that is never read, bytes that are no HTTP. What the parser calls is written anew, for a short request
costs little more than that: it sets no timer, and wakes nobody.

Runs in the server's event loop. What a whole head may hold is gate.py's business, the body body.py's.
"""

import asyncio
import dataclasses
import urllib.parse
import uuid
from collections.abc import Callable
from typing import Any, cast

import httptools
from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from octavo.http.errors import ErrorAnswer
from octavo.http.lingering import LingeringTransport
from octavo.http.outlet import AnswerOutlet, attach_outlet
from octavo.http.repeated_head import Recognized, RepeatedHeads
from octavo.http.request_log import request_id_of
from octavo.http.responses import error_headers

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
    pairing_seconds: float = 0.05  # that a head waits for its body, which often comes in a second packet


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
        self._idle_since: float | None = None  # on the loop's clock; None: it is not
        self._heads = RepeatedHeads()
        self._num_body_left = 0  # of a request whose head was recognized: the parser sees nothing of it
        self._is_parsing = False
        self._has_grown = False  # the newest request, which is not whole
        self._is_unbegun = False  # the answer: while the request may become whole soon
        self._is_in_head = False
        self._is_refused = False
        self._num_vain_bytes = 0  # since a head ended or a body came: of heads, trailers, chunk extensions
        self._head_deadline = Deadline(self.loop, self._limits.head_seconds, self._on_no_head)
        self._stall_deadline = Deadline(self.loop, self._limits.stall_seconds, self._on_stall)
        self._pairing_deadline = Deadline(self.loop, self._limits.pairing_seconds, self._begin_answer_in_part)

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
        self._unset_keepalive_if_required()
        if self._answering is not None:  # uvicorn tells the newest request only
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)
        if self._is_unbegun:
            self._begin_answer_in_part()  # so that the log has it
        if self._outlet is not None:
            self._outlet.lose()

    # The request

    def data_received(self, data: bytes) -> None:
        if self._lingering.is_lingering:
            return
        is_between_requests = self._idle_since is not None and not self.cycle.more_body
        self._idle_since = None
        if is_between_requests and (known := self._heads.recognize(data)) is not None:
            self._begin_recognized(known)
            data = self._take_body(data[known.num_head_bytes :])
        elif self._num_body_left:
            data = self._take_body(data)
        if data:
            self._num_vain_bytes += len(data)
            self._parse(data)
        if self._is_unbegun:
            self._begin_answer()
        if self._has_grown:
            self._has_grown = False
            self.cycle.message_event.set()
        if self.transport.is_closing():
            return
        if not self._is_answering:
            self._head_deadline.start()
        if self._num_vain_bytes > self._limits.max_head_bytes:
            limit = self._limits.max_head_bytes
            self._refuse("headers_too_large", f"The request's head or trailer is longer than {limit} bytes.")

    def _begin_recognized(self, known: Recognized) -> None:
        self._num_vain_bytes = 0
        self._head_deadline.stop()
        self.expect_100_continue = False
        self._num_body_left = known.num_body_bytes
        self.cycle = self._new_cycle(known.scope, keep_alive=True)
        self._start_asgi_task(self.cycle, self.app)

    def _take_body(self, data: bytes) -> bytes:
        """Of a request whose head was recognized. Returns what comes after it."""
        rest = data[self._num_body_left :]
        if rest:
            data = data[: self._num_body_left]
        self._num_body_left -= len(data)
        if data:
            self.on_body(data)
        if not self._num_body_left:
            self.on_message_complete()
        return rest

    def _parse(self, data: bytes) -> None:
        self._is_parsing = True
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse("invalid_http", "What came is not a valid HTTP/1.1 request.")
        except httptools.HttpParserUpgrade:
            pass  # the gate refuses the request and the log says so
        finally:
            self._is_parsing = False

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._is_in_head = True
        self._num_vain_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Trailers look like headers to the parser. Nobody may take them for some."""
        if self._is_in_head:
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._num_vain_bytes = 0
        self._head_deadline.stop()
        scope = self._new_scope()
        self._heads.learn(scope)
        keep_alive = scope["http_version"] != "1.0" and self.parser.should_keep_alive()
        previous, self.cycle = self.cycle, self._new_cycle(scope, keep_alive=keep_alive)
        if previous is None or previous.response_complete:
            self._start_asgi_task(self.cycle, self.app)
            return
        self.pipeline.appendleft((self.cycle, self.app))
        if len(self.pipeline) > MAX_PIPELINED:
            self.flow.pause_reading()
        else:
            self.flow.resume_reading()  # or the client's leaving would go unnoticed

    def _new_scope(self) -> Scope:
        parser, url = self.parser, httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": parser.get_http_version(),
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "headers": self.headers,
            "method": parser.get_method().decode("ascii"),
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
        }

    def _new_cycle(self, scope: Any, *, keep_alive: bool) -> RequestResponseCycle:
        return RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )

    def on_body(self, body: bytes) -> None:
        self._num_vain_bytes = 0
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.body += body
            self._has_grown = True
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()

    def on_message_complete(self) -> None:
        if not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()
            self._has_grown = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """What uvicorn calls for a request whose turn it is."""
        self._answering = cycle
        self._outlet = AnswerOutlet(cycle, super()._start_asgi_task)
        cycle.send = self._outlet.send  # type: ignore[method-assign, assignment]
        scope: Any = cycle.scope
        attach_outlet(scope, self._outlet)
        self._is_unbegun = True

    def _begin_answer(self) -> None:
        """At once, where the request has come whole and the application can; else in a task. What is not
        whole yet may be in a moment."""
        cycle, outlet = self._answering, self._outlet
        assert cycle is not None and outlet is not None
        if self.transport.is_closing() or (cycle.more_body and not self._is_body_near(cycle)):
            self._begin_answer_in_part()
        elif cycle.more_body:
            self._pairing_deadline.start()
        else:
            self._pairing_deadline.stop()
            self._is_unbegun = False
            scope: Any = cycle.scope
            if not self._begin(scope, bytes(cycle.body), outlet):
                outlet.go_on(self.app)

    def _is_body_near(self, cycle: RequestResponseCycle) -> bool:
        """It is one that a client sends in one piece."""
        if cycle.waiting_for_100_continue:
            return False
        lengths = [value for name, value in cycle.scope["headers"] if name == b"content-length"]
        return bool(lengths) and int(lengths[0]) <= HIGH_WATER_LIMIT

    def _begin_answer_in_part(self) -> None:
        """In a task, which awaits the rest of the request."""
        assert self._outlet is not None
        self._pairing_deadline.stop()
        self._is_unbegun = False
        self._outlet.go_on(self.app)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self._turn_to_the_next()
        if self._is_in_head:
            self._head_deadline.start()
        if self.transport.get_write_buffer_size():  # no more writing will tell whether it is read
            self.transport.set_write_buffer_limits(high=0)

    def _turn_to_the_next(self) -> None:
        """A request that was waiting behind the one that is answered; without any the connection is idle. One
        timer looks after it as long as requests come soon enough."""
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            if not self._is_parsing:
                self._begin_answer()
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self._look_if_idle)

    def _look_if_idle(self) -> None:
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return  # another answer will end, or another deadline does
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self._look_if_idle)
        else:
            self.transport.close()

    def _on_no_head(self) -> None:
        if self._is_answering or self.transport.is_closing():
            return
        if self._is_in_head:
            seconds = self._limits.head_seconds
            self._refuse("request_timeout", f"No whole request came within {seconds:g} seconds.")
        else:
            self.transport.close()

    def _refuse(self, code: str, message: str) -> None:
        """Answer and close, unless an answer is under way already: that one is broken off."""
        if not (self._answering is not None and self._is_answering and self._answering.response_started):
            answer = ErrorAnswer(code, message)
            headers = (
                *error_headers(answer),
                (b"connection", b"close"),
                (b"x-request-id", uuid.uuid4().hex.encode()),
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
