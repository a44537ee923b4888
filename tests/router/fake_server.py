"""An OpenAI-compatible server that does what a test wants: answers, refuses, breaks off, goes silent."""

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Callable

EVENTS = (*(b'data: {"n":%d}\n\n' % number for number in range(4)), b"data: [DONE]\n\n")


@dataclasses.dataclass
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[["FakeServer", Received, asyncio.StreamWriter], "asyncio.Future[None] | object"]


class FakeServer:
    """behaviour answers POSTs; GETs are answered as a healthy server would, unless is_ready is False."""

    def __init__(self, models: tuple[str, ...] = ("tiny",)) -> None:
        self.models = models
        self.is_ready = True
        self.is_silent = False  # takes requests and says nothing
        self.metrics: bytes | None = None  # what its /metrics says; None: it has none
        self.models_body: bytes | None = None  # instead of those that tell of models
        self.behaviour: Callable[[Received, asyncio.StreamWriter], object] = answer
        self.received: list[Received] = []  # POSTs
        self.got: list[str] = []  # paths of GETs
        self.statuses: dict[str, int] = {}  # of GETs that it answers otherwise, by path
        self.num_connections = 0
        self.arrived = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    await self._one(await read_request(reader), writer)
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _one(self, request: Received, writer: asyncio.StreamWriter) -> None:
        if self.is_silent:
            await asyncio.Event().wait()
        if request.method == "GET":
            self._get(request, writer)
            await writer.drain()
            return
        self.received.append(request)
        self.arrived.set()
        await self.behaviour(request, writer)  # type: ignore[misc]

    def _get(self, request: Received, writer: asyncio.StreamWriter) -> None:
        self.got.append(request.path)
        if request.path in self.statuses:
            respond(writer, self.statuses[request.path], b"{}")
        elif request.path == "/v1/models":
            cards = [{"id": model, "object": "model", "owned_by": "fake"} for model in self.models]
            respond(writer, 200, self.models_body or json.dumps({"data": cards}).encode())
        elif request.path == "/health":
            respond(writer, 200 if self.is_ready else 503, b"{}")
        elif request.path == "/metrics" and self.metrics is not None:
            respond(writer, 200, self.metrics)
        else:
            respond(writer, 404, b"{}")


async def read_request(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, path, headers, body)


def respond(writer: asyncio.StreamWriter, status: int, body: bytes, **headers: str) -> None:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = (
        f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{lines}content-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)


async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
    """As a healthy server: events if it is asked for a stream, else JSON."""
    if json.loads(request.body).get("stream"):
        await stream(writer, EVENTS)
        writer.write(b"0\r\n\r\n")
    else:
        respond(writer, 200, b'{ "whole":   "answer" }')
    await writer.drain()


async def stream(writer: asyncio.StreamWriter, events: tuple[bytes, ...]) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
        b"x-engine: fake\r\n\r\n"
    )
    for event in events:
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        await writer.drain()
        await asyncio.sleep(0)


async def cut(request: Received, writer: asyncio.StreamWriter) -> None:
    """No answer: the connection ends."""
    raise ConnectionResetError


async def cut_in_mid_stream(request: Received, writer: asyncio.StreamWriter) -> None:
    await stream(writer, EVENTS[:2])
    await asyncio.sleep(0.02)
    raise ConnectionResetError


async def cut_in_mid_body(request: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"half":')
    await writer.drain()
    raise ConnectionResetError


async def stall(request: Received, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def stall_in_mid_stream(request: Received, writer: asyncio.StreamWriter) -> None:
    await stream(writer, EVENTS[:2])
    await asyncio.Event().wait()


async def garbage(request: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\x01 this is not HTTP\r\n\r\n")
    await writer.drain()


def status(code: int, **headers: str) -> Callable[[Received, asyncio.StreamWriter], object]:
    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        respond(writer, code, b'{"error":{"message":"no"}}', **headers)
        await writer.drain()

    return behave


@contextlib.asynccontextmanager
async def fake_servers(count: int, models: tuple[str, ...] = ("tiny",)) -> AsyncIterator[list[FakeServer]]:
    servers = [FakeServer(models) for _ in range(count)]
    for server in servers:
        await server.start()
    try:
        yield servers
    finally:
        for server in servers:
            await server.stop()
