"""uvicorn on our connection."""

import contextlib
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from octavo.http.connection import HttpConnection
from octavo.http.tls import Tls

CLOSING_SECONDS = 5  # for the last bytes of answers to leave
KEEP_ALIVE_SECONDS = 65  # longer than the minute after which balancers drop an idle connection


class HttpServer(uvicorn.Server):
    """uvicorn, but signals are not its business."""

    @classmethod
    def of(cls, app: ASGIApp, tls: Tls | None = None) -> "HttpServer":
        return cls(
            uvicorn.Config(
                app,
                http=HttpConnection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ssl_certfile=None if tls is None else tls.certfile,
                ssl_keyfile=None if tls is None else tls.keyfile,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=CLOSING_SECONDS,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
