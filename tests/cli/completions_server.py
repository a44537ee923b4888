"""A small OpenAI-compatible server in a thread: answers at once, in chunks, with what max_tokens asks for."""

import contextlib
import http.server
import json
import sys
import threading
from collections.abc import Iterator


class CompletionsServer(http.server.ThreadingHTTPServer):
    """refuse_from: from this request on (1: the first) the answer is 429."""

    daemon_threads = True

    def __init__(self, refuse_from: int | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.refuse_from = refuse_from
        self.paths: list[str] = []
        self.bodies: list[dict[str, object]] = []
        self.keys: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: CompletionsServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(200, b'{"data":[{"id":"tiny"}]}')

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        server = self.server
        server.paths.append(self.path)
        server.bodies.append(body)
        server.keys.append(self.headers["authorization"])
        if server.refuse_from is not None and len(server.bodies) >= server.refuse_from:
            return self._send(429, b"{}")
        chunk = {"choices": [{"text": "word ", "delta": {"content": "word "}}]}
        usage = {"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": body["max_tokens"]}}
        events = [json.dumps(item) for item in [*[chunk] * body["max_tokens"], usage]]
        self._send(200, "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def completions_server(refuse_from: int | None = None) -> Iterator[CompletionsServer]:
    with CompletionsServer(refuse_from) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    CompletionsServer(port=int(sys.argv[1])).serve_forever()
