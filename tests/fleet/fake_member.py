"""`fake_member.py PARENT-PID serve|route ...`: stands in for an octavo process, and does what a folder says.

In the folder FAKE_FLEET: NAME.refuse, NAME.die-once (NAME is serve or route), and the numbers requests and
waiting. Each start adds a line to NAME.log.
"""

import http.server
import json
import os
import pathlib
import signal
import sys
import threading

FOLDER = pathlib.Path(os.environ["FAKE_FLEET"])


class Handler(http.server.BaseHTTPRequestHandler):
    urls: tuple[str, ...] = ()

    def do_GET(self) -> None:
        rows = [
            {
                "name": f"r{number}",
                "ready": True,
                "requests": _number("requests"),
                "received": 0,
                "waiting": _number("waiting"),
            }
            for number, _ in enumerate(self.urls)
        ]
        body = json.dumps(rows if self.path == "/debug/endpoints" else {"data": []}).encode()
        self.send_response(404 if self.path == "/octavo/v1/model" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


def _number(name: str) -> int:
    path = FOLDER / name
    return int(path.read_text() or 0) if path.exists() else 0


def main() -> None:
    kind, arguments = sys.argv[2], sys.argv[3:]
    with (FOLDER / f"{kind}.log").open("a") as log:
        shared = f"secret={os.environ['OCTAVO_SECRET']} key={os.environ.get('OCTAVO_API_KEY')}"
        log.write(f"{os.getpid()} {' '.join(arguments)} {shared}\n")
    if (FOLDER / f"{kind}.refuse").exists():
        print("octavo: the fake refuses.", file=sys.stderr)
        sys.exit(2)
    once = FOLDER / f"{kind}.die-once"
    if once.exists():
        once.unlink()
        sys.exit(1)
    port = next(int(text.partition("=")[2]) for text in arguments if text.startswith("--port="))
    Handler.urls = tuple(text for text in arguments if text.startswith("http"))
    http.server.ThreadingHTTPServer.allow_reuse_address = True
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    is_busy = (FOLDER / "requests").exists

    def stop(number: int, frame: object) -> None:
        stop.count += 1  # type: ignore[attr-defined]
        if kind == "serve" or not is_busy() or stop.count > 1:  # type: ignore[attr-defined]
            threading.Thread(target=server.shutdown).start()

    stop.count = 0  # type: ignore[attr-defined]
    signal.signal(signal.SIGTERM, stop)
    print(f"{kind} at {port}", flush=True)
    server.serve_forever(poll_interval=0.02)


if __name__ == "__main__":
    main()
