"""The router process from its first line to its last: listen, watch the endpoints, route, drain, stop."""

import asyncio
import contextlib
import socket

import uvloop

from octavo import __version__
from octavo.core.counted import counted
from octavo.http.http_server import HttpServer
from octavo.http.listener import listen, url_of
from octavo.http.process import StopSignals, drain, say, set_up, spare_the_collector, wait_for_any
from octavo.http.tls import Tls
from octavo.router.endpoints import EndpointSet
from octavo.router.options import RouteOptions
from octavo.router.wiring import RunningRouter

PATIENCE_SECONDS = 5.0


def run_router(options: RouteOptions) -> int:
    """Route until a signal; returns the exit code. Raises StartError when it cannot start."""
    set_up(options.environment.log_level)
    config = options.router
    tls = Tls.of(config.ssl_certfile, config.ssl_keyfile)
    router = RunningRouter.of(options, say)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen(config.host, config.port))
        admin = None
        if config.admin_port is not None:
            admin = stack.enter_context(listen(config.host, config.admin_port, "--admin-port"))
        spare_the_collector()
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        return runner.run(serve(router, listener, config.drain_seconds, tls, admin))


async def serve(
    router: RunningRouter,
    listener: socket.socket,
    drain_seconds: float,
    tls: Tls | None = None,
    admin_listener: socket.socket | None = None,
) -> int:
    signals = StopSignals()
    servers = [(HttpServer.of(router.app, tls), listener)]
    if admin_listener is not None:
        servers.append((HttpServer.of(router.admin, tls), admin_listener))
    serving = [asyncio.create_task(server.serve(sockets=[one])) for server, one in servers]
    router.start()
    endpoints = counted(len(router.endpoints.endpoints), "endpoint")
    url = url_of(listener, is_tls=tls is not None)
    say(f"octavo {__version__}: routing to {endpoints}: {url}")
    if admin_listener is not None:
        say(f"endpoints are managed at {url_of(admin_listener, is_tls=tls is not None, path='/endpoints')}")
    telling = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, _tell_who_is_absent, router.endpoints)
    await wait_for_any(serving[0], signals.first.wait())
    telling.cancel()
    proxy = router.proxy
    await drain(proxy.drain(drain_seconds), signals, drain_seconds, lambda: proxy.num_running)
    router.stop()
    proxy.cut_off()
    for server, _ in servers:
        server.should_exit = True
    await asyncio.gather(*serving)
    return 0


def _tell_who_is_absent(endpoints: EndpointSet) -> None:
    """Once, some time after the start: later changes are said as they happen. Who is started when somebody
    asks is not expected to be there."""
    for endpoint in endpoints.endpoints:
        if not endpoint.is_ready and not endpoints.on_demand.names.intersection(endpoint.static_models):
            say(f"endpoint {endpoint.name} ({endpoint.url}) is not ready yet: {endpoint.complaint}")
