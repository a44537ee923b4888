"""The client's side of a request: what has been sent to it, and that it never just ends.

What is written counts as sent. What is sent may wait for a client that reads slowly; interrupted, it has not
been.
"""

import asyncio

from starlette.types import Send

from octavo.http.errors import ErrorAnswer
from octavo.http.outlet import Outlet
from octavo.http.responses import send_error
from octavo.router.upstream import Headers

# Of one connection, not of the message; and what this process says itself. A stream has no length: an error
# may follow, or the rest from elsewhere.
_NOT_FORWARDED = frozenset(
    (b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer",
     b"transfer-encoding", b"upgrade", b"x-request-id", b"date", b"server")
)  # fmt: skip
_NOT_FORWARDED_OF_STREAMS = _NOT_FORWARDED | {b"content-length"}


class ClientAnswer:
    def __init__(self, send: Send, outlet: Outlet) -> None:
        """outlet: of the same answer, for a stream's body."""
        self._send = send
        self.outlet = outlet
        self.has_started = False
        self.has_ended = False
        self.is_event_stream = False

    async def start(self, status: int, headers: Headers, route: bytes) -> None:
        """Pass on an endpoint's head, with the x-octavo-route header."""
        content_type = next((value for name, value in headers if name == b"content-type"), b"")
        self.is_event_stream = content_type.startswith(b"text/event-stream")
        dropped = _NOT_FORWARDED_OF_STREAMS if self.is_event_stream else _NOT_FORWARDED
        kept = [header for header in headers if header[0] not in dropped]
        kept.append((b"x-octavo-route", route))
        await self._send({"type": "http.response.start", "status": status, "headers": kept})
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

    async def end(self, data: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": data})
        self.has_ended = True

    async def fail(self, answer: ErrorAnswer) -> None:
        """The request cannot be answered: a status where there is none yet, else an event in the stream.

        An event that was cut in half is closed first. A body of another kind can only be cut off, which
        uvicorn does when an application leaves it unfinished.
        """
        if not self.has_started:
            await send_error(self._send, answer)
            self.has_started = self.has_ended = True
        elif self.is_event_stream and not self.has_ended:
            await self.end(b"\n\n" + answer.event)
