"""The router process from its first line to its last: listen, watch the endpoints, route, drain, stop."""

import asyncio
import dataclasses
import math
import socket
import sys
from collections.abc import Coroutine

import prometheus_client
import uvloop
from starlette.types import ASGIApp

from octavo import __version__
from octavo.config import RouterConfig
from octavo.core.errors import StartError
from octavo.http.access import Access
from octavo.http.key_ring import KeyRing
from octavo.http.listener import listen, url_of
from octavo.http.process import HttpServer, StopSignals, set_up_logging, wait_for_any
from octavo.http.request_log import RequestLog
from octavo.http.tls import Tls
from octavo.metrics.router_metrics import RouterMetrics
from octavo.router.app import build_app
from octavo.router.cache_watch import CacheWatch
from octavo.router.delivery import DeliveryLimits
from octavo.router.endpoints import WRONG, Endpoint, EndpointSet
from octavo.router.health import HealthLimits, HealthMonitor
from octavo.router.knowledge import Knowledge
from octavo.router.known_answer import KnownAnswer
from octavo.router.options import RouteOptions
from octavo.router.proxy import Proxy, ProxyLimits
from octavo.router.routed_request import RequestReader
from octavo.router.routing import Router, all_policies


def run_router(options: RouteOptions) -> int:
    """Route until a signal; returns the exit code. Raises StartError when it cannot start."""
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # series that nobody reads
    set_up_logging(options.environment.log_level)
    tls = Tls.of(options.router.ssl_certfile, options.router.ssl_keyfile)
    fleet = RunningRouter.of(options)
    with (
        listen(options.router.host, options.router.port) as listener,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(serve(fleet, listener, options.router.drain_seconds, tls))


@dataclasses.dataclass(frozen=True, slots=True)
class RunningRouter:
    """A router's objects, wired together."""

    endpoints: EndpointSet
    monitor: HealthMonitor
    cache_watch: CacheWatch
    known_answer: KnownAnswer
    shares_secret: bool  # with octavo replicas
    proxy: Proxy
    app: ASGIApp

    @classmethod
    def of(cls, options: RouteOptions) -> "RunningRouter":
        """Raises StartError."""
        config, environment = options.router, options.environment
        api_key = config.api_key or environment.api_key
        metrics = RouterMetrics()
        aliases = dict(alias.split(":", 1) for alias in config.static_aliases)
        endpoints = EndpointSet(_endpoints(config), aliases)
        knowledge = Knowledge()
        router = Router(
            endpoints,
            all_policies(knowledge),
            config.policy,
            retry_after_seconds=math.ceil(config.health_interval_seconds),
            knowledge=knowledge,
        )
        proxy = Proxy(
            router,
            RequestReader(session_key=config.session_key, aliases=endpoints.aliases),
            metrics,
            secret=environment.secret,
            limits=ProxyLimits(
                DeliveryLimits(config.first_token_seconds, config.inter_token_seconds, config.total_seconds),
                max_body_bytes=config.max_body_bytes,
            ),
        )
        log = RequestLog(
            is_json=config.log_format == "json",
            is_coloured=options.is_terminal and not environment.no_color,
        )

        def on_change(endpoint: Endpoint, state: str) -> None:
            metrics.observe_change(endpoint.name, state)
            reason = "" if state == "ready" else f": {endpoint.complaint}"
            _say(f"endpoint {endpoint.name} ({endpoint.url}) is {state}{reason}")

        limits = HealthLimits(config.health_interval_seconds, config.health_timeout_seconds)
        monitor = HealthMonitor(
            api_key=api_key, secret=environment.secret, limits=limits, on_change=on_change
        )
        key_ring = KeyRing.of(api_key, config.api_key_file)
        access = Access(key_ring, config.allowed_hosts, config.allowed_origins)
        app = build_app(router, proxy, metrics, access=access, log=log)
        return cls(
            endpoints,
            monitor,
            CacheWatch(environment.secret or ""),
            _known_answer(config, api_key, metrics),
            environment.secret is not None,
            proxy,
            app,
        )

    def watchers(self, endpoint: Endpoint) -> list[Coroutine[None, None, None]]:
        """What runs beside for an endpoint, until cancelled."""
        watchers = [self.monitor.watch(endpoint)]
        if self.shares_secret:
            watchers += [self.cache_watch.follow(endpoint), self.known_answer.watch(endpoint)]
        return watchers


def _known_answer(config: RouterConfig, api_key: str | None, metrics: RouterMetrics) -> KnownAnswer:
    def on_answer(endpoint: Endpoint, outcome: str) -> None:
        metrics.observe_known_answer(endpoint.name, outcome)
        if outcome == "wrong":
            _say(f"endpoint {endpoint.name} ({endpoint.url}) gets nothing more: {WRONG}")

    return KnownAnswer(api_key=api_key, interval_seconds=config.known_answer_seconds, on_answer=on_answer)


def _endpoints(config: RouterConfig) -> list[Endpoint]:
    endpoints = []
    for number, url in enumerate(config.endpoints):
        models = config.static_models[number : number + 1]
        try:
            endpoint = Endpoint(
                url, name=f"r{number}", static_models=models, connect_seconds=config.connect_seconds
            )
        except ValueError as error:
            raise StartError(f"--endpoints: {error}.") from None
        endpoints.append(endpoint)
    return endpoints


async def serve(
    router: RunningRouter, listener: socket.socket, drain_seconds: float, tls: Tls | None = None
) -> int:
    signals = StopSignals()
    server = HttpServer.of(router.app, tls)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    watching = [
        asyncio.create_task(watcher)
        for endpoint in router.endpoints.endpoints
        for watcher in router.watchers(endpoint)
    ]
    count, url = len(router.endpoints.endpoints), url_of(listener, is_tls=tls is not None)
    _say(f"octavo {__version__}: routing to {count} endpoint{'s' * (count != 1)}: {url}")
    await wait_for_any(serving, signals.first.wait())
    proxy = router.proxy
    _say(f"shutting down: up to {drain_seconds:g} s for {proxy.num_running} requests; again stops at once")
    draining = asyncio.create_task(proxy.drain(drain_seconds))
    await wait_for_any(draining, signals.second.wait())
    draining.cancel()
    _say(f"stopped: {proxy.num_running} requests cut off")
    for task in watching:
        task.cancel()
    proxy.cut_off()
    server.should_exit = True
    await serving
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
