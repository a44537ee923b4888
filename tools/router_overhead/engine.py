"""A replica that costs next to nothing: answers chats at once, and streams events that say when they left.

One process serves several ports, as so many replicas: python -m tools.router_overhead.engine PORT...
"""

import asyncio
import functools
import sys
import time
from typing import cast

import msgspec
import uvloop

from octavo.core.relay import CacheEvent, Mark, ReplicaCard

EVENTS_PER_SECOND = 20.0
NUM_EVENTS = 160  # of a stream
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
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Replica(asyncio.Protocol):
    """One connection; a request at a time."""

    def __init__(self) -> None:
        self._data = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            start = head.find(b"content-length:")
            length = int(head[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
            if len(self._data) < end + 4 + length:
                return
            body = self._data[end + 4 : end + 4 + length]
            self._data = self._data[end + 4 + length :]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        path = head.split(b" ", 2)[1]
        if head.startswith(b"post"):
            if b'"stream":true' in body.replace(b" ", b""):
                self._transport.write(STREAM_HEAD)
                self._stream(NUM_EVENTS, is_marked=b"x-octavo-identity:" in head)
            else:
                self._whole(WHOLE)
        elif path == b"/octavo/v1/model":
            self._whole(msgspec.json.encode(CARD))
        elif path == b"/octavo/v1/events":
            self._transport.write(STREAM_HEAD)
            self._live(0)
        elif path == b"/v1/models":
            self._whole(b'{"object":"list","data":[{"id":"tiny","object":"model","created":1}]}')
        else:
            self._whole(b'{"status":"ready"}')

    def _whole(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)

    def _later(self, seconds: float, call: functools.partial[None]) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, call)

    def _chunk(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data)

    def _stream(self, num_left: int, *, is_marked: bool) -> None:
        """As an octavo replica does, if it is asked as one."""
        event = EVENT % time.monotonic_ns() if num_left else LAST
        mark = b""
        if is_marked:
            reason = None if num_left else "stop"
            mark = Mark(len(event), 0, 18 * (NUM_EVENTS - num_left), 0, reason, [num_left]).encode()
        chunk = self._chunk(mark + event)
        if num_left:
            self._transport.write(chunk)
            again = functools.partial(self._stream, num_left - 1, is_marked=is_marked)
            self._later(1 / EVENTS_PER_SECOND, again)
        else:
            self._transport.write(chunk + b"0\r\n\r\n")

    def _live(self, number: int) -> None:
        """A sign of life each second, as of a replica whose cache does not change."""
        self._transport.write(self._chunk(msgspec.json.encode(CacheEvent(number, number == 0)) + b"\n"))
        self._later(1.0, functools.partial(self._live, number + 1))


async def serve(ports: list[int]) -> None:
    loop = asyncio.get_running_loop()
    for port in ports:
        await loop.create_server(Replica, "127.0.0.1", port, backlog=4096)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve([int(port) for port in sys.argv[1:]]))
