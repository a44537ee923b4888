"""The server process from its first line to its last: start, serve, drain, stop.

The port is taken before anything is loaded. SIGTERM or Ctrl-C lets running answers finish, a second one ends
all at once.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Iterator
from typing import Any

import prometheus_client
import uvicorn
import uvloop
from starlette.types import ASGIApp

from octavo.core.errors import StartError
from octavo.engine.resources import available_cores
from octavo.server.boot_report import Phases, boot_report
from octavo.server.connection import HttpConnection
from octavo.server.listener import listen, url_of
from octavo.server.options import ServeOptions
from octavo.server.replica import Replica, start_replica

EXIT_ENGINE_GONE = 1
CLOSING_SECONDS = 5  # for the last bytes of answers to leave
KEEP_ALIVE_SECONDS = 65  # longer than the minute after which balancers drop an idle connection
LOWER_PRIORITY = 5  # added to the niceness
LOG_LEVELS = ("debug", "info", "warning", "error")


def run_server(options: ServeOptions) -> int:
    """Serve until a signal; returns the exit code. Raises StartError when it cannot start."""
    phases = Phases()
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # series that nobody reads
    _set_up_logging(options.environment.log_level)
    with (
        listen(options.server.host, options.server.port) as listener,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(serve(options, listener, phases))


def _set_up_logging(level: str) -> None:
    if level not in LOG_LEVELS:
        raise StartError(f"OCTAVO_LOG is {level!r}; allowed: {', '.join(LOG_LEVELS)}.")
    logging.basicConfig(level=level.upper(), format="%(levelname)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(max(logging.getLogger().level, logging.WARNING))


class StopSignals:
    """SIGTERM or SIGINT asks the server to drain; another one to end at once."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._receive)

    def _receive(self) -> None:
        (self.second if self.first.is_set() else self.first).set()


class HttpServer(uvicorn.Server):
    """uvicorn, but signals are not its business."""

    @classmethod
    def of(cls, app: ASGIApp) -> "HttpServer":
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
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=CLOSING_SECONDS,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(options: ServeOptions, listener: socket.socket, phases: Phases) -> int:
    signals = StopSignals()
    starting = asyncio.create_task(start_replica(options, phases))
    await _wait_for_any(starting, signals.first.wait())
    if not starting.done():
        starting.cancel()
        await asyncio.wait((starting,))
        return 0
    replica = starting.result()
    _settle(replica)
    server = HttpServer.of(replica.app)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    info, names = replica.engine.info, replica.model.all_names
    _say(boot_report(info, phases, names=names, url=url_of(listener)))
    try:
        return await _until_end(replica, signals, options.server.drain_seconds)
    finally:
        await replica.engine.close()
        server.should_exit = True
        await serving


def _settle(replica: Replica) -> None:
    """The garbage collector looks no more at what was loaded; the engine's threads go before the server."""
    gc.collect()
    gc.freeze()
    if available_cores() <= replica.engine.info.threads:
        os.nice(LOWER_PRIORITY)


async def _until_end(replica: Replica, signals: StopSignals, drain_seconds: float) -> int:
    engine = replica.engine
    await _wait_for_any(engine.fatal, signals.first.wait())
    if engine.fatal.done():
        _say(f"octavo: {engine.fatal.result()}")
        return EXIT_ENGINE_GONE
    replica.drain.begin()
    _say(f"shutting down: up to {drain_seconds:g} s for {_requests(engine.num_live)}; again stops at once")
    draining = asyncio.create_task(engine.drain(drain_seconds))
    await _wait_for_any(draining, signals.second.wait())
    draining.cancel()
    _say(f"stopped: {_requests(engine.num_live)} cut off")
    return 0


async def _wait_for_any(future: asyncio.Future[Any], event: Coroutine[Any, Any, Any]) -> None:
    """Until one of them is done. The future goes on, the event's wait does not."""
    waiting = asyncio.create_task(event)
    await asyncio.wait((future, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
