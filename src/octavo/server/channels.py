"""The channels that routers keep open: each router's streams leave by one connection, and all that a step of
the engine gave them in one write.

    head                        by the stream's own connection
    body                        by the channel: CHANNEL_BYTES, renewed as the router passes them on
    the rest, and the end       by its own connection again: who reads slowly holds up nobody else

A channel that is not there (any more) is no error: then all of the answer leaves by its own connection. One
that ends takes along the streams that are on it: what was written to it last may not have arrived.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping

from starlette.types import Message, Receive, Send

from octavo.core.channel import CHANNEL_BYTES, SIGN_OF_LIFE, Renewal, Ticket, frame
from octavo.core.relay import CHANNEL_HEADER
from octavo.http.body import ClientGone, run_while_connected
from octavo.http.outlet import Outlet

SIGN_OF_LIFE_SECONDS = 1.0
SILENCE_SECONDS = 10  # of a router that acknowledges none of these; after as many it gives up on a replica
_HEADERS = (
    (b"content-type", b"application/octet-stream"),
    (b"x-accel-buffering", b"no"),  # asks nginx to pass frames on as they come
)


class Channels:
    def __init__(self) -> None:
        self._open: dict[str, Channel] = {}

    async def serve(
        self, outlet: Outlet, receive: Receive, send: Send, is_ending: Callable[[], bool]
    ) -> None:
        """Answer a router that opens one: until it leaves, or is_ending and no stream is left on it."""
        channel = Channel(outlet)
        self._open[channel.id] = channel
        try:
            with contextlib.suppress(ClientGone):
                await run_while_connected(receive, channel.run(send, is_ending))
        finally:
            del self._open[channel.id]
            channel.abort()

    def way(self, ticket: Ticket | None, send: Send, outlet: Outlet) -> tuple[Send, Outlet]:
        """By which a streamed answer leaves; send and outlet are its own connection's."""
        channel = None if ticket is None else self._open.get(ticket.channel)
        if ticket is None or channel is None:
            return send, outlet
        stream = ChannelStream(channel, ticket.number, send, outlet)
        return (stream.send, stream) if channel.join(ticket.number, stream) else (send, outlet)

    def renew(self, renewal: Renewal) -> None:
        """Streams that are no more on the channel, or whose channel has ended, need none."""
        channel = self._open.get(renewal.channel)
        if channel is not None:
            channel.renew(renewal.num_bytes)


class Channel:
    """One router's. Runs in the server's event loop."""

    def __init__(self, outlet: Outlet) -> None:
        """outlet: of the answer that is the channel."""
        self.id = secrets.token_hex(16)
        self._outlet = outlet
        self._streams: dict[int, ChannelStream] = {}
        self._frames: list[bytes] = []  # of this turn of the event loop

    async def run(self, send: Send, is_ending: Callable[[], bool]) -> None:
        self._outlet.on_room = self._on_room
        self._outlet.limit_silence(SILENCE_SECONDS)
        headers = (*_HEADERS, (CHANNEL_HEADER, self.id.encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while self._streams or not is_ending():
            if not self.is_behind:
                self.write(SIGN_OF_LIFE)
            await asyncio.sleep(SIGN_OF_LIFE_SECONDS)
        self._flush()
        await send({"type": "http.response.body"})

    def _on_room(self) -> None:
        for stream in list(self._streams.values()):
            stream.on_room()

    def abort(self) -> None:
        """It is gone, and so is what it carried."""
        for stream in list(self._streams.values()):
            stream.abort()

    @property
    def is_behind(self) -> bool:
        return self._outlet.is_behind

    def join(self, number: int, stream: "ChannelStream") -> bool:
        """Whether it may: the number is no other stream's."""
        if number in self._streams:
            return False
        self._streams[number] = stream
        stream.begin()
        return True

    def leave(self, number: int) -> None:
        self._streams.pop(number, None)

    def renew(self, num_bytes: Mapping[int, int]) -> None:
        for number, more in num_bytes.items():
            if number in self._streams:
                self._streams[number].renew(more)

    def write(self, number: int, data: bytes = b"") -> None:
        """It leaves with whatever else is written in this turn of the event loop."""
        if not self._frames:
            asyncio.get_running_loop().call_soon(self._flush)
        self._frames.append(frame(number, data))

    def _flush(self) -> None:
        frames, self._frames = self._frames, []
        if frames:
            self._outlet.write(b"".join(frames))


class ChannelStream:
    """An answer's send and outlet, in place of its own connection's."""

    def __init__(self, channel: Channel, number: int, send: Send, outlet: Outlet) -> None:
        self.on_room: Callable[[], None] = _nobody_waits
        self.on_gone: Callable[[], None] = _nobody_waits
        self.on_end: Callable[[], None] = _nobody_waits
        self._channel: Channel | None = channel  # None: what follows leaves by its own connection
        self._number = number
        self._num_left = CHANNEL_BYTES
        self._send = send
        self._outlet = outlet

    def begin(self) -> None:
        """It is on the channel, until its answer has ended: which may be an error, by its own connection."""
        self._outlet.on_room = self._on_own_room
        self._outlet.on_gone = self._on_own_gone
        self._outlet.on_end = self._on_own_end

    def _on_own_room(self) -> None:
        self.on_room()

    def _on_own_gone(self) -> None:
        self._on_own_end()
        self.on_gone()

    def _on_own_end(self) -> None:
        if self._channel is not None:
            self._channel.leave(self._number)

    @property
    def is_behind(self) -> bool:
        return self._outlet.is_behind if self._channel is None else self._channel.is_behind

    @property
    def is_gone(self) -> bool:
        return self._outlet.is_gone

    @property
    def has_whole_request(self) -> bool:
        return self._outlet.has_whole_request

    def open(self) -> None:
        self._outlet.open()

    def limit_silence(self, seconds: int) -> None:
        self._outlet.limit_silence(seconds)

    def write(self, data: bytes) -> None:
        if self._channel is not None and len(data) <= self._num_left:
            self._num_left -= len(data)
            self._channel.write(self._number, data)
        else:
            self._leave()
            self._outlet.write(data)

    def renew(self, num_bytes: int) -> None:
        self._num_left += num_bytes

    def abort(self) -> None:
        self._outlet.abort()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            says_so = (CHANNEL_HEADER, str(self._number).encode())
            await self._send({**message, "headers": [*message["headers"], says_so]})
            self._outlet.open()
            return
        if message.get("body"):
            self.write(message["body"])
        if not message.get("more_body", False):
            self._leave()
            await self._send({"type": "http.response.body"})

    def _leave(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.write(self._number)
            channel.leave(self._number)


def _nobody_waits() -> None:
    pass
