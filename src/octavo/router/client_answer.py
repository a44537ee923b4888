"""The client's side of a request: what has been sent to it, and that it never just ends.

What is written counts as sent. For a client that reads slowly there is to be room() before more is.
"""

import asyncio
from collections.abc import Callable

import msgspec

from octavo.core.relay import CHANNEL_HEADER
from octavo.http.body import UNREADABLE
from octavo.http.errors import ErrorAnswer
from octavo.http.headers import Headers
from octavo.http.outlet import AnswerOutlet
from octavo.http.responses import error_headers

SAID_BY_ENDPOINT = "said by its endpoint"  # in place of a code
# Of one connection, not of the message; and what this process says itself. A stream has no length: an error
# may follow, or the rest from elsewhere.
_NOT_FORWARDED = frozenset(
    (b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer",
     b"transfer-encoding", b"upgrade", b"x-request-id", b"date", b"server", CHANNEL_HEADER)
)  # fmt: skip
_NOT_FORWARDED_OF_STREAMS = _NOT_FORWARDED | {b"content-length"}


class ClientAnswer:
    def __init__(
        self,
        outlet: AnswerOutlet,
        head: Callable[[int, Headers], Headers],
        on_error: Callable[[str], None] = lambda code: None,
    ) -> None:
        """head: what an answer's head has in all, by its status and the headers it has. on_error: is told
        the code of an error that is the answer, or ends it."""
        self.outlet = outlet
        self.on_error = on_error
        self._head = head
        self.has_started = False
        self.has_ended = False
        self.is_event_stream = False

    def start(self, status: int, headers: Headers, route: bytes, *, is_event_stream: bool = False) -> None:
        """Pass on an endpoint's head, with the x-octavo-route header."""
        self.is_event_stream = is_event_stream
        dropped = _NOT_FORWARDED_OF_STREAMS if self.is_event_stream else _NOT_FORWARDED
        kept = [header for header in headers if header[0] not in dropped]
        kept.append((b"x-octavo-route", route))
        self.outlet.start(status, self._head(status, kept))
        self.has_started = True

    def write(self, data: bytes) -> bool:
        """Some more of a stream. Returns whether the client keeps up; if not, there is to be room() first."""
        if data:
            self.outlet.write(data)
        return not self.outlet.is_behind

    async def room(self) -> None:
        if self.outlet.is_behind and not self.outlet.is_gone:
            room = asyncio.Event()
            self.outlet.on_room = room.set
            await room.wait()

    def end(self, data: bytes = b"") -> None:
        self.outlet.end(data)
        self.has_ended = True

    def end_with(self, event: bytes) -> None:
        """With an error event that is not ours."""
        self.on_error(_code_of(event))
        self.end(event)

    def fail(self, answer: ErrorAnswer) -> None:
        """The request cannot be answered: a status where there is none yet, else an event in the stream.

        An event that was cut in half is closed first. A body of another kind can only be cut off, which
        uvicorn does when an application leaves it unfinished.
        """
        if not self.has_ended:
            self.on_error(answer.code)
        if not self.has_started:
            self.outlet.start(answer.status, self._head(answer.status, error_headers(answer)))
            self.has_started = True
            self.end(answer.body)
        elif self.is_event_stream and not self.has_ended:
            self.end(b"\n\n" + answer.event)


class _Error(msgspec.Struct):
    code: str


class _ErrorEvent(msgspec.Struct):
    error: _Error


def _code_of(event: bytes) -> str:
    try:
        return msgspec.json.decode(event.removeprefix(b"data: "), type=_ErrorEvent).error.code
    except UNREADABLE:
        return SAID_BY_ENDPOINT
