"""The client's side of a request: what has been sent to it, and that it never just ends.

send may wait for a client that reads slowly. Interrupted, it has written nothing of its message.
"""

from starlette.types import Send

from octavo.http.errors import ErrorAnswer
from octavo.http.responses import send_error
from octavo.router.upstream import Headers

# Of one connection, not of the message; and what this process says itself.
_NOT_FORWARDED = frozenset(
    (b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer",
     b"transfer-encoding", b"upgrade", b"x-request-id", b"date", b"server")
)  # fmt: skip


class ClientAnswer:
    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_started = False
        self.has_ended = False
        self.is_event_stream = False

    async def start(self, status: int, headers: Headers, route: bytes) -> None:
        """Pass on an endpoint's head, with the x-octavo-route header."""
        kept = [(name, value) for name, value in headers if name not in _NOT_FORWARDED]
        kept.append((b"x-octavo-route", route))
        content_type = next((value for name, value in headers if name == b"content-type"), b"")
        self.is_event_stream = content_type.startswith(b"text/event-stream")
        await self._send({"type": "http.response.start", "status": status, "headers": kept})
        self.has_started = True

    async def write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

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
