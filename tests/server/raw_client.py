"""HTTP by hand, for what no client library would send: any bytes to a socket, and the answers taken apart."""

import asyncio
import dataclasses
import json
from collections.abc import Iterable
from typing import Any

ANSWER_SECONDS = 30  # in which any request must have its end


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[str]:
        """Of a stream, in order; comments left out."""
        blocks = self.body.decode().split("\n\n")
        return [block.removeprefix("data: ") for block in blocks if block.startswith("data: ")]


def request(
    path: str,
    body: bytes | None = None,
    headers: Iterable[tuple[str, str]] = (),
    *,
    method: str = "POST",
    close: bool = True,
) -> bytes:
    """A whole request. headers replace the usual ones of the same name."""
    usual = {"Host": "octavo", "Content-Type": "application/json"}
    if body is not None:
        usual["Content-Length"] = str(len(body))
    if close:
        usual["Connection"] = "close"
    given = list(headers)
    names = {name.lower() for name, _ in given}
    fields = [*((name, value) for name, value in usual.items() if name.lower() not in names), *given]
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join((*lines, "", "")).encode("latin-1") + (body or b"")


async def exchange(port: int, *pieces: bytes, pause: float = 0.0, half_close: bool = False) -> list[Answer]:
    """Send the pieces, each as a packet of its own before a pause; what was answered until the end.
    A server that hangs fails the test by its timeout.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reading = asyncio.create_task(reader.read())
    try:
        for piece in pieces:
            if reading.done():
                break
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        if half_close:
            writer.write_eof()
    except ConnectionError:
        pass  # refused before all of it was sent: the answer says why
    try:
        data = await asyncio.wait_for(reading, ANSWER_SECONDS)
    except ConnectionError:
        data = b""
    finally:
        writer.transport.abort()
    return parse(data, has_bodies=not pieces[0].startswith(b"HEAD"))


def parse(data: bytes, *, has_bodies: bool = True) -> list[Answer]:
    """Every answer in data, whole. Fails for what is not HTTP."""
    answers = []
    while data:
        head, found, data = data.partition(b"\r\n\r\n")
        assert found and head.startswith(b"HTTP/1.1 "), head[:200]
        status_line, *lines = head.decode("latin-1").split("\r\n")
        fields = (line.split(": ", 1) for line in lines)
        headers = {name.lower(): value for name, value in fields}
        if not has_bodies:
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            body, data = _dechunk(data)
        else:
            length = int(headers.get("content-length", len(data)))
            assert len(data) >= length, "the answer was cut off"
            body, data = data[:length], data[length:]
        answers.append(Answer(int(status_line.split()[1]), headers, body))
    return answers


def _dechunk(data: bytes) -> tuple[bytes, bytes]:
    pieces = []
    while True:
        line, found, data = data.partition(b"\r\n")
        assert found, "the answer was cut off"
        size = int(line, 16)
        pieces.append(data[:size])
        assert data[size : size + 2] == b"\r\n"
        data = data[size + 2 :]
        if not size:
            return b"".join(pieces), data
