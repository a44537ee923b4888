"""A client of raw sockets: so many streams at once, each a request after the other. It reads and counts.

Runs in a process of its own: python -m tools.host_cost.load PORT STREAMS REQUESTS TOKENS PATH READER

READER   client    a client's streams
         router    a router's, which have marks, each on a connection of its own
         channel   a router's, by a channel
"""

import json
import re
import selectors
import socket
import sys

from octavo.core.channel import Ticket
from octavo.core.relay import CHANNEL_HEADER, CHANNEL_PATH, IDENTITY_HEADER, SECRET_HEADER, Identity
from tools.host_cost.server import SECRET

END = b"\r\n0\r\n\r\n"  # of chunks
Headers = dict[bytes, bytes]


class Requests:
    """The bytes of one after the other."""

    def __init__(self, path: str, num_tokens: int, channel: str | None, *, is_relayed: bool) -> None:
        self._path = path
        self._num_tokens = num_tokens
        self._channel = channel
        self._is_relayed = is_relayed
        self.num_begun = 0

    def next(self) -> bytes:
        self.num_begun += 1
        headers = {b"content-type": b"application/json"}
        if self._is_relayed:
            headers |= {SECRET_HEADER: SECRET.encode(), IDENTITY_HEADER: Identity.new().header}
        if self._channel is not None:
            headers[CHANNEL_HEADER] = Ticket(self._channel, self.num_begun).header
        return rendered("POST", self._path, headers, _body(self._path, self._num_tokens))


def _body(path: str, num_tokens: int) -> bytes:
    body: dict[str, object] = {"model": "default", "max_tokens": num_tokens, "stream": True}
    body |= {"ignore_eos": True, "temperature": 0}
    if "chat" in path:
        body["messages"] = [{"role": "user", "content": "Tell me about the machine that you are."}]
    else:
        body["prompt"] = "Tell me about the machine that you are."
    return json.dumps(body).encode()


def rendered(method: str, path: str, headers: Headers, body: bytes) -> bytes:
    headers = {**headers, b"host": b"octavo", b"content-length": b"%d" % len(body)}
    lines = b"".join(b"%b: %b\r\n" % header for header in headers.items())
    return f"{method} {path} HTTP/1.1\r\n".encode() + lines + b"\r\n" + body


def open_channel(port: int) -> tuple[socket.socket, str]:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(rendered("GET", CHANNEL_PATH, {SECRET_HEADER: SECRET.encode()}, b""))
    found = re.search(CHANNEL_HEADER + rb": (\w+)", connection.recv(1 << 16))
    assert found, "the server has no channel"
    return connection, found[1].decode()


def run(port: int, num_streams: int, num_requests: int, num_tokens: int, path: str, reader: str) -> int:
    """Returns how many bytes came. Raises AssertionError when an answer is no stream of events."""
    selector = selectors.EpollSelector()
    tails: dict[socket.socket, bytes] = {}
    channel, id = open_channel(port) if reader == "channel" else (None, None)
    if channel is not None:
        selector.register(channel, selectors.EVENT_READ)
    requests = Requests(path, num_tokens, id, is_relayed=reader != "client")
    num_ended = num_bytes = 0
    for _ in range(min(num_streams, num_requests)):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(requests.next())
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ)
        tails[connection] = b""
    while num_ended < num_requests:
        for key, _ in selector.select():
            connection = key.fileobj  # type: ignore[assignment]
            data = connection.recv(1 << 16)
            assert data, "the server closed the connection"
            num_bytes += len(data)
            if connection is channel:
                continue
            tail = tails[connection] + data
            tails[connection] = tail[-64:]
            if not tail.endswith(END):
                continue
            assert b'"error":' not in tail
            num_ended += 1
            tails[connection] = b""
            if requests.num_begun < num_requests:
                connection.sendall(requests.next())
    return num_bytes


if __name__ == "__main__":
    numbers = [int(value) for value in sys.argv[1:5]]
    print(run(numbers[0], numbers[1], numbers[2], numbers[3], *sys.argv[5:7]))
