"""The client: raw sockets; requests at a fixed rate, however long answers take, or on some connections one
after the other, or streams at once.

A process of its own: python -m tools.router_overhead.load PORT [OPTIONS]; it prints what it found as JSON.
"""

import argparse
import asyncio
import json
import os
import re
import time
from collections.abc import Callable
from typing import TypeVar, cast

import msgspec
import uvloop

from octavo.bench.percentiles import Percentiles
from tools.router_overhead.engine import EVENTS_PER_SECOND, NUM_EVENTS

TICK_SECONDS = 0.001
TAIL_SECONDS = 10.0  # for the last answers
CLIENT_KEY = "sk-overhead-6f1e0c5a9b7d43288e1f"  # who asks for none gets it too
START_SECONDS = 1.0  # of all streams
_STAMP = re.compile(rb"t(\d{12,20}) ")
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
Kind = TypeVar("Kind", bound="Client")


class Found(msgspec.Struct):
    """Seconds: of requests, from when due to the whole answer; of events, from the engine to here; of all of
    it, from the first request to the last answer."""

    num_asked: int
    num_answered: int
    num_delays: int
    delays: Percentiles
    seconds: float


def request_bytes(port: int, num_characters: int, *, num_events: int = 0) -> bytes:
    """num_events: of the stream that is asked for; 0: a whole answer is."""
    content = ("What is asked here has been asked before. " * (1 + num_characters // 42))[:num_characters]
    message = {"role": "user", "content": content}
    length = {"max_tokens": num_events or 16, "stream": num_events > 0}
    body = json.dumps({"model": "tiny", "messages": [message], **length}).encode()
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"authorization: Bearer {CLIENT_KEY}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body


class Client(asyncio.Protocol):
    """One connection; one request at a time, each answered whole."""

    def __init__(self, gap_seconds: float = 0.0) -> None:
        """gap_seconds: between a head and its body, which many libraries send in two packets; 0: in one."""
        self._gap_seconds = gap_seconds
        self.on_end: Callable[[], None] = lambda: None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def close(self) -> None:
        self._transport.abort()

    def ask(self, request: bytes) -> None:
        self._data = b""
        if self._gap_seconds:
            head, end, request = request.partition(b"\r\n\r\n")
            os.write(self._transport.get_extra_info("socket").fileno(), head + end)  # at once, and alone
            until = time.perf_counter() + self._gap_seconds
            while time.perf_counter() < until:
                pass
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if found and length and len(body) >= int(length[1]) and b" 200 " in head[:15]:
            self.on_end()


class StreamClient(Client):
    """Its events say when they left the engine."""

    def __init__(self, gap_seconds: float = 0.0) -> None:
        super().__init__(gap_seconds)
        self.delays: list[float] = []

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        data = self._data + data  # what came last may have been half an event
        end = 0
        for stamp in _STAMP.finditer(data):
            self.delays.append((now - int(stamp[1])) / 1e9)
            end = stamp.end()
        self._data = data[max(end, len(data) - 40) :]
        if data.endswith(b"\r\n0\r\n\r\n"):
            self.on_end()


class Load:
    def __init__(self, port: int, gap_seconds: float = 0.0) -> None:
        self._port = port
        self._gap_seconds = gap_seconds
        self._clients: list[Client] = []
        self._idle: list[Client] = []
        self._delays: list[float] = []
        self._num_asked = self._num_answered = 0
        self._start = 0.0

    async def short(self, rate: float, seconds: float, num_characters: int) -> Found:
        request = request_bytes(self._port, num_characters)
        self._idle = [await self._connect(Client) for _ in range(32)]
        start, total = time.monotonic(), int(rate * seconds)
        self._start = start
        while self._num_asked < total:
            while self._num_asked < total and start + self._num_asked / rate <= time.monotonic():
                client = self._idle.pop() if self._idle else await self._connect(Client)
                self._ask(client, request, start + self._num_asked / rate)
            await asyncio.sleep(TICK_SECONDS)
        await self._until_answered(TAIL_SECONDS)
        return self._found(self._delays)

    def _ask(self, client: Client, request: bytes, due: float) -> None:
        def end() -> None:
            self._delays.append(time.monotonic() - due)
            self._num_answered += 1
            self._idle.append(client)

        client.on_end = end
        client.ask(request)
        self._num_asked += 1

    async def saturate(self, num_connections: int, seconds: float, num_characters: int) -> Found:
        """On each connection a request as soon as the one before is answered."""
        request = request_bytes(self._port, num_characters)
        clients = [await self._connect(Client) for _ in range(num_connections)]
        self._start = time.monotonic()
        for client in clients:
            self._ask_again(client, request, self._start + seconds)
        await asyncio.sleep(seconds)
        await self._until_answered(TAIL_SECONDS)
        return self._found(self._delays)

    def _ask_again(self, client: Client, request: bytes, end: float) -> None:
        now = time.monotonic()
        if now < end:
            self._ask(client, request, now)
            count = client.on_end

            def next_one() -> None:
                count()
                self._ask_again(client, request, end)

            client.on_end = next_one

    async def streams(self, count: int, num_events: int) -> Found:
        """All of them at once."""
        self._start = time.monotonic()
        request = request_bytes(self._port, 200, num_events=num_events)
        clients = []
        for _ in range(count):
            client = await self._connect(StreamClient)
            client.on_end = self._count_answer
            client.ask(request)
            self._num_asked += 1
            clients.append(client)
            await asyncio.sleep(START_SECONDS / count)
        await self._until_answered(num_events / EVENTS_PER_SECOND + TAIL_SECONDS)
        return self._found([delay for client in clients for delay in client.delays])

    def _count_answer(self) -> None:
        self._num_answered += 1

    async def _connect(self, kind: type[Kind]) -> Kind:
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: kind(self._gap_seconds), "127.0.0.1", self._port)
        self._clients.append(client)
        return client

    async def _until_answered(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._num_answered < self._num_asked and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    def _found(self, delays: list[float]) -> Found:
        for client in self._clients:
            client.close()
        seconds = time.monotonic() - self._start
        return Found(self._num_asked, self._num_answered, len(delays), Percentiles.of(delays), seconds)


async def run(options: argparse.Namespace) -> Found:
    load = Load(options.port, options.gap / 1e6)
    if options.streams:
        return await load.streams(options.streams, options.events)
    if options.connections:
        return await load.saturate(options.connections, options.seconds, options.characters)
    return await load.short(options.rate, options.seconds, options.characters)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--characters", type=int, default=200)
    parser.add_argument("--streams", type=int, default=0)
    parser.add_argument("--events", type=int, default=NUM_EVENTS, help="of each stream")
    parser.add_argument("--connections", type=int, default=0)
    parser.add_argument("--gap", type=float, default=0.0, help="microseconds between head and body")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(msgspec.json.encode(runner.run(run(options))).decode())


if __name__ == "__main__":
    main()
