"""A client of raw sockets: so many streams at once, each a request after the other. It reads and counts.

Runs in a process of its own: python -m tools.host_cost.load PORT STREAMS REQUESTS TOKENS PATH
"""

import json
import selectors
import socket
import sys

END = b"data: [DONE]\n\n"


def request_bytes(path: str, num_tokens: int) -> bytes:
    body: dict[str, object] = {"model": "default", "max_tokens": num_tokens, "stream": True}
    body |= {"ignore_eos": True, "temperature": 0}
    if "chat" in path:
        body["messages"] = [{"role": "user", "content": "Tell me about the machine that you are."}]
    else:
        body["prompt"] = "Tell me about the machine that you are."
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: octavo\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(data)}\r\n\r\n".encode() + data


def run(port: int, num_streams: int, num_requests: int, num_tokens: int, path: str) -> int:
    """Returns how many bytes came. Raises AssertionError when an answer is no stream of events."""
    request = request_bytes(path, num_tokens)
    selector = selectors.EpollSelector()
    tails: dict[socket.socket, bytes] = {}
    num_begun = num_ended = num_bytes = 0
    for _ in range(min(num_streams, num_requests)):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(request)
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ)
        tails[connection] = b""
        num_begun += 1
    while num_ended < num_requests:
        for key, _ in selector.select():
            connection = key.fileobj  # type: ignore[assignment]
            data = connection.recv(1 << 16)
            assert data, "the server closed the connection"
            num_bytes += len(data)
            tail = tails[connection] + data
            tails[connection] = tail[-64:]
            if END not in tail:
                continue
            assert b'"error":' not in tail
            num_ended += 1
            tails[connection] = b""
            if num_begun < num_requests:
                num_begun += 1
                connection.sendall(request)
    return num_bytes


if __name__ == "__main__":
    numbers = [int(value) for value in sys.argv[1:5]]
    print(run(numbers[0], numbers[1], numbers[2], numbers[3], sys.argv[5]))
