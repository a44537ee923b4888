"""The server process's first lines: an engine is on its way while the server itself is still being imported.

Both take a few tenths of a second, on a core each. What this module imports is what an engine cannot be
started without. The port is taken before anything else.
"""

import asyncio
import pkgutil
import socket

import uvloop

from octavo.engine.supervisor import EngineSupervisor
from octavo.http.listener import listen
from octavo.http.process import StopSignals, set_up
from octavo.http.tls import Tls
from octavo.server.boot_report import Phases
from octavo.server.options import ServeOptions


def run_server(options: ServeOptions) -> int:
    """Serve until a signal; returns the exit code. Raises StartError when it cannot start."""
    phases = Phases()
    set_up(options.environment.log_level)
    tls = Tls.of(options.server.ssl_certfile, options.server.ssl_keyfile)
    with (
        listen(options.server.host, options.server.port) as listener,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(_boot(options, listener, phases, tls))


async def _boot(options: ServeOptions, listener: socket.socket, phases: Phases, tls: Tls | None) -> int:
    signals = StopSignals()
    engine = asyncio.create_task(EngineSupervisor.start(options.engine, options.environment))
    serve = await asyncio.to_thread(pkgutil.resolve_name, "octavo.server.run:serve")
    exit_code: int = await serve(options, listener, phases, signals, engine, tls)
    return exit_code
