"""The server process once its engine is on its way: start, serve, drain, stop.

SIGTERM or Ctrl-C lets running answers finish, a second one ends all at once.
"""

import asyncio
import os
import socket
import sys

from octavo.core.fitting import fitted
from octavo.engine.client import EngineClient
from octavo.engine.resources import available_cores
from octavo.http.http_server import HttpServer
from octavo.http.listener import url_of
from octavo.http.process import StopSignals, drain, say, spare_the_collector, wait_for_any
from octavo.http.tls import Tls
from octavo.server.boot_report import LABEL_WIDTH, Phases, boot_report
from octavo.server.options import ServeOptions
from octavo.server.replica import Replica, start_replica

EXIT_ENGINE_GONE = 1
LOWER_PRIORITY = 5  # added to the niceness
SILENCE_SECONDS = 1.0  # of a start, until it says what it is at


async def serve(
    options: ServeOptions,
    listener: socket.socket,
    phases: Phases,
    signals: StopSignals,
    engine: asyncio.Task[EngineClient],
    tls: Tls | None = None,
) -> int:
    """engine: it is being started. Returns the exit code; raises StartError."""
    starting = asyncio.create_task(start_replica(options, engine, phases))
    telling = asyncio.get_running_loop().call_later(SILENCE_SECONDS, say, _loading(options.names[0]))
    await wait_for_any(starting, signals.first.wait())
    telling.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.wait((starting,))
        return 0
    replica = starting.result()
    _settle(replica)
    server = HttpServer.of(replica.app, tls)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    report = boot_report(
        replica.engine.info,
        phases,
        names=replica.model.all_names,
        chat=str(replica.abilities),
        url=url_of(listener, is_tls=tls is not None),
    )
    say(fitted(report, LABEL_WIDTH, sys.stderr))
    try:
        return await _until_end(replica, signals, options.server.drain_seconds)
    finally:
        await replica.engine.close()
        server.should_exit = True
        await serving


def _loading(name: str) -> str:
    return f"loading {name} ... (a first start packs its weights)"


def _settle(replica: Replica) -> None:
    """All is loaded; the engine's threads go before the server."""
    spare_the_collector()
    if available_cores() <= replica.engine.info.threads:
        os.nice(LOWER_PRIORITY)


async def _until_end(replica: Replica, signals: StopSignals, drain_seconds: float) -> int:
    engine = replica.engine
    await wait_for_any(engine.fatal, signals.first.wait())
    if engine.fatal.done():
        say(f"octavo: {engine.fatal.result()}")
        return EXIT_ENGINE_GONE
    replica.drain.begin()
    await drain(engine.drain(drain_seconds), signals, drain_seconds, lambda: engine.num_live)
    return 0
