"""A replica that costs next to nothing: answers chats at once, and streams events that say when they left.

As with an engine that computes, a step gives an event to each stream that is under way. One process serves
several ports, as so many replicas: python -m tools.router_overhead.engine [--no-channels] PORT...
"""

import argparse
import asyncio
import functools
import re
import secrets
import time
from typing import cast

import msgspec
import uvloop

from octavo.core.channel import SIGN_OF_LIFE, Ticket, frame
from octavo.core.relay import CHANNEL_HEADER, CacheEvent, Mark, ReplicaCard

EVENTS_PER_SECOND = 20.0
NUM_EVENTS = 160  # of a stream, unless its request says max_tokens
CARD = ReplicaCard("0123456789abcdef", 8192)
WHOLE = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"tiny","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"A short answer to a short question."},"logprobs":null,"finish_reason":'
    b'"stop"}],"usage":{"prompt_tokens":50,"completion_tokens":8,"total_tokens":58}}'
)
EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"tiny",'
    b'"choices":[{"index":0,"delta":{"content":"t%d "},"logprobs":null,"finish_reason":null}]}\n\n'
)
LAST = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"tiny",'
    b'"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n%b\r\n"
END = b"0\r\n\r\n"  # of chunks
_MAX_TOKENS = re.compile(rb'"max_tokens": ?(\d+)')


class Replica:
    """What answers on one port."""

    def __init__(self, *, has_channels: bool = True) -> None:
        self.has_channels = has_channels
        self.channels: dict[str, Connection] = {}
        self._streams: dict[Stream, None] = {}  # in the order of their starts
        self._due = 0.0  # the next step, on the loop's clock

    def connection(self) -> "Connection":
        return Connection(self)

    def begin(self, stream: "Stream") -> None:
        if not self._streams:
            self._due = asyncio.get_running_loop().time()
            self._wait_for_step()
        self._streams[stream] = None

    def _wait_for_step(self) -> None:
        self._due += 1 / EVENTS_PER_SECOND
        asyncio.get_running_loop().call_at(self._due, self._step)

    def _step(self) -> None:
        frames: dict[Connection, list[bytes]] = {}
        for stream in list(self._streams):
            event, is_last = stream.next_event(), stream.num_left < 0
            if stream.channel is None:
                stream.connection.write(_chunk(event) + END * is_last)
            else:
                ends = frame(stream.number) if is_last else b""
                frames.setdefault(stream.channel, []).append(frame(stream.number, event) + ends)
                if is_last:
                    stream.connection.write(END)
            if is_last or stream.connection.is_lost:
                del self._streams[stream]
        for channel, parts in frames.items():
            channel.write(_chunk(b"".join(parts)))
        if self._streams:
            self._wait_for_step()


class Stream:
    """channel: by which its events leave; None: its own connection."""

    def __init__(
        self,
        connection: "Connection",
        channel: "Connection | None",
        number: int,
        num_events: int,
        *,
        is_marked: bool,
    ) -> None:
        self.connection = connection
        self.channel = channel
        self.number = number
        self.num_left = self._num_events = num_events  # before the last one
        self._is_marked = is_marked

    def next_event(self) -> bytes:
        """As an octavo replica makes it, if it is asked as one."""
        num_left, self.num_left = self.num_left, self.num_left - 1
        event = EVENT % time.monotonic_ns() if num_left else LAST
        if not self._is_marked:
            return event
        reason = None if num_left else "stop"
        return Mark(len(event), 0, 18 * (self._num_events - num_left), 0, reason, [num_left]).encode() + event


class Connection(asyncio.Protocol):
    """A request at a time."""

    def __init__(self, replica: Replica) -> None:
        self.is_lost = False
        self._replica = replica
        self._data = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        if self._timer is not None:
            self._timer.cancel()

    def write(self, data: bytes) -> None:
        if not self.is_lost:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            length = int(_header(head, b"content-length") or 0)
            if len(self._data) < end + 4 + length:
                return
            body = self._data[end + 4 : end + 4 + length]
            self._data = self._data[end + 4 + length :]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        path = head.split(b" ", 2)[1]
        if head.startswith(b"post"):
            if b'"stream":true' in body.replace(b" ", b""):
                self._stream(head, body)
            else:
                self._whole(WHOLE)
        elif path == b"/octavo/v1/model":
            self._whole(msgspec.json.encode(CARD))
        elif path == b"/octavo/v1/events":
            self.write(STREAM_HEAD % b"")
            self._live(0)
        elif path == b"/octavo/v1/channel" and self._replica.has_channels:
            id = secrets.token_hex(16)
            self._replica.channels[id] = self
            self.write(STREAM_HEAD % _line(id.encode()))
            self._be_there()
        elif path == b"/v1/models":
            self._whole(b'{"object":"list","data":[{"id":"tiny","object":"model","created":1}]}')
        else:
            self._whole(b'{"status":"ready"}')

    def _whole(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.write(head + body)

    def _stream(self, head: bytes, body: bytes) -> None:
        ticket = Ticket.parse(_header(head, CHANNEL_HEADER).decode())
        channel = None if ticket is None else self._replica.channels.get(ticket.channel)
        number = 0 if ticket is None else ticket.number
        self.write(STREAM_HEAD % (b"" if channel is None else _line(b"%d" % number)))
        asked = _MAX_TOKENS.search(body)
        num_events = int(asked[1]) if asked else NUM_EVENTS
        is_marked = b"x-octavo-identity:" in head
        self._replica.begin(Stream(self, channel, number, num_events, is_marked=is_marked))

    def _later(self, seconds: float, call: functools.partial[None]) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, call)

    def _live(self, number: int) -> None:
        """A sign of life each second, as of a replica whose cache does not change."""
        self.write(_chunk(msgspec.json.encode(CacheEvent(number, number == 0)) + b"\n"))
        self._later(1.0, functools.partial(self._live, number + 1))

    def _be_there(self) -> None:
        self.write(_chunk(frame(SIGN_OF_LIFE)))
        self._later(1.0, functools.partial(self._be_there))


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _header(head: bytes, name: bytes) -> bytes:
    """Of a head in lower case."""
    start = head.find(b"\r\n" + name + b":")
    return b"" if start < 0 else head[start + 3 + len(name) :].partition(b"\r\n")[0].strip()


def _line(channel: bytes) -> bytes:
    return b"%b: %b\r\n" % (CHANNEL_HEADER, channel)


async def serve(ports: list[int], *, has_channels: bool) -> None:
    loop = asyncio.get_running_loop()
    for port in ports:
        replica = Replica(has_channels=has_channels)
        await loop.create_server(replica.connection, "127.0.0.1", port, backlog=4096)
    print("ready", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("ports", type=int, nargs="+")
    parser.add_argument("--no-channels", action="store_true")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(options.ports, has_channels=not options.no_channels))


if __name__ == "__main__":
    main()
