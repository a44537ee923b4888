"""A router's objects, wired together, and what runs beside them."""

import asyncio
import dataclasses
import math
from collections.abc import Callable, Coroutine

from starlette.types import ASGIApp

from octavo.config import RouterConfig
from octavo.core.errors import OctavoError, StartError
from octavo.core.queue_bound import MAX_RETRY_AFTER_SECONDS
from octavo.http.access import Access
from octavo.http.background import in_background
from octavo.http.key_ring import KeyRing
from octavo.http.request_log import RequestLog
from octavo.metrics.router_metrics import RouterMetrics
from octavo.metrics.stack_metrics import StackMetrics
from octavo.router.admin import build_admin
from octavo.router.aliases import Aliases
from octavo.router.app import build_app
from octavo.router.cache_watch import CacheWatch
from octavo.router.channel_watch import ChannelWatch
from octavo.router.delivery import DeliveryLimits
from octavo.router.discovery import DNS_SCHEME, DnsWatch, FileWatch
from octavo.router.endpoints import WRONG, Endpoint, EndpointSet, OnDemandModels
from octavo.router.gauge_watch import GaugeWatch
from octavo.router.health import HealthLimits, HealthMonitor
from octavo.router.knowledge import Knowledge
from octavo.router.known_answer import KnownAnswer
from octavo.router.membership import EndpointSpec, Membership
from octavo.router.options import RouteOptions
from octavo.router.proxy import Proxy, ProxyLimits
from octavo.router.routed_request import RequestReader
from octavo.router.routing import Router, all_policies
from octavo.router.waiting_room import QueueLimits, WaitingRoom

Say = Callable[[str], None]
Beside = Coroutine[None, None, None]


@dataclasses.dataclass(frozen=True, slots=True)
class RunningRouter:
    """discoveries: sources of endpoints that are looked at again and again."""

    endpoints: EndpointSet
    membership: Membership
    discoveries: list[FileWatch | DnsWatch]
    watches: "Watches"
    proxy: Proxy
    app: ASGIApp
    admin: ASGIApp
    tasks: list[asyncio.Task[None]]

    @classmethod
    def of(cls, options: RouteOptions, say: Say) -> "RunningRouter":
        """say is given sentences for the operator. Raises StartError."""
        config, environment = options.router, options.environment
        metrics, knowledge = RouterMetrics(), Knowledge()
        on_demand = OnDemandModels(frozenset(config.on_demand_models), config.start_seconds)
        endpoints = EndpointSet([], Aliases(config.aliases), on_demand)
        membership = _membership(config, endpoints, metrics, knowledge, say)
        router = Router(
            endpoints,
            all_policies(knowledge),
            config.policy,
            model_policies=config.policies_by_model,
            retry_after_seconds=math.ceil(min(config.health_interval_seconds, MAX_RETRY_AFTER_SECONDS)),
            knowledge=knowledge,
            room=WaitingRoom(
                QueueLimits(
                    config.waiting_room_seconds,
                    config.max_num_queued_requests,
                    config.max_requests_per_endpoint,
                ),
                metrics,
            ),
        )
        StackMetrics(
            endpoints.counts,
            router.num_incoming,
            has_engines_names=config.compat_metrics,
            registry=metrics.registry,
        )
        proxy = Proxy(
            router,
            RequestReader(endpoints.resolve, session_key=config.session_key),
            metrics,
            secret=environment.secret,
            limits=ProxyLimits(
                DeliveryLimits(config.first_token_seconds, config.inter_token_seconds, config.total_seconds),
                max_body_bytes=config.max_body_bytes,
                may_be_inexact=config.failover_mismatch == "continue",
            ),
        )
        api_key = config.api_key or environment.api_key
        is_coloured = options.is_terminal and not environment.no_color
        log = RequestLog(is_json=config.log_format == "json", is_coloured=is_coloured)
        key_ring = KeyRing.of(api_key, config.api_key_file)
        access = Access(key_ring, config.allowed_hosts, config.allowed_origins)
        return cls(
            endpoints,
            membership,
            _discoveries(config, membership, metrics, say),
            Watches.of(config, api_key, environment.secret, knowledge, metrics, say),
            proxy,
            build_app(router, proxy, metrics, access=access, log=log),
            build_admin(endpoints, membership, Access(KeyRing.of(config.admin_key, None)), log),
            [],
        )

    def start(self) -> None:
        self.membership.start(self.watches.of_endpoint)
        what = "A watch over where endpoints come from"
        self.tasks.extend(in_background(discovery.run(), what) for discovery in self.discoveries)

    def stop(self) -> None:
        self.membership.close()
        for task in self.tasks:
            task.cancel()


@dataclasses.dataclass(frozen=True, slots=True)
class Watches:
    """What is found out about each endpoint as long as it is a member."""

    monitor: HealthMonitor
    cache_watch: CacheWatch
    channel_watch: ChannelWatch
    gauge_watch: GaugeWatch
    known_answer: KnownAnswer
    shares_secret: bool  # with octavo replicas

    @classmethod
    def of(
        cls,
        config: RouterConfig,
        api_key: str | None,
        secret: str | None,
        knowledge: Knowledge,
        metrics: RouterMetrics,
        say: Say,
    ) -> "Watches":
        def on_change(endpoint: Endpoint, state: str) -> None:
            metrics.observe_change(endpoint.name, state)
            reason = f": {endpoint.complaint}"
            if state == "ready":
                reason = "" if endpoint.card is not None else f"; its streams {endpoint.streams}"
            say(f"endpoint {endpoint.name} ({endpoint.url}) is {state}{reason}")

        def on_answer(endpoint: Endpoint, outcome: str) -> None:
            metrics.observe_known_answer(endpoint.name, outcome)
            if outcome == "wrong":
                say(f"endpoint {endpoint.name} ({endpoint.url}) gets nothing more: {WRONG}")

        limits = HealthLimits(config.health_interval_seconds, config.health_timeout_seconds)
        return cls(
            HealthMonitor(api_key=api_key, secret=secret, limits=limits, on_change=on_change),
            CacheWatch(secret or "", knowledge.prefixes),
            ChannelWatch(secret or "", api_key=api_key),
            GaugeWatch(api_key=api_key),
            KnownAnswer(
                secret or "",
                api_key=api_key,
                interval_seconds=config.known_answer_seconds,
                on_answer=on_answer,
            ),
            secret is not None,
        )

    def of_endpoint(self, endpoint: Endpoint) -> list[Beside]:
        beside = [self.monitor.watch(endpoint), self.gauge_watch.follow(endpoint)]
        if self.shares_secret:
            beside += [
                self.cache_watch.follow(endpoint),
                self.channel_watch.keep(endpoint),
                self.known_answer.watch(endpoint),
            ]
        return beside


def _membership(
    config: RouterConfig, endpoints: EndpointSet, metrics: RouterMetrics, knowledge: Knowledge, say: Say
) -> Membership:
    """With those whom the options name. Raises StartError."""

    def on_change(endpoint: Endpoint, what: str) -> None:
        say(f"endpoint {endpoint.name} ({endpoint.url}) {what}")
        if what == "is gone":
            knowledge.times.forget(endpoint)
            if membership.get(endpoint.name) is None:
                metrics.forget_endpoint(endpoint.name)

    membership = Membership(endpoints, connect_seconds=config.connect_seconds)
    num_regular = len(config.endpoints)
    for number, url in enumerate((*config.endpoints, *config.standby_endpoints)):
        if number >= num_regular or not _is_dns(url):
            models = config.static_models[number : number + 1]
            try:
                membership.add(EndpointSpec(url, None, models, is_standby=number >= num_regular), "options")
            except OctavoError as error:
                raise StartError(f"--endpoints: {error}") from None
    membership.on_change = on_change
    return membership


def _is_dns(url: str) -> bool:
    return url.startswith(f"{DNS_SCHEME}://")


def _discoveries(
    config: RouterConfig, membership: Membership, metrics: RouterMetrics, say: Say
) -> list[FileWatch | DnsWatch]:
    """Raises StartError: the file cannot be read now, or is wrong."""

    def failing(source: str) -> Callable[[str], None]:
        def on_error(sentence: str) -> None:
            metrics.observe_discovery_error(source)
            say(sentence)

        return on_error

    found: list[FileWatch | DnsWatch] = [
        DnsWatch(url, membership, on_error=failing(url)) for url in config.endpoints if _is_dns(url)
    ]
    if config.endpoints_file is not None:
        watch = FileWatch(config.endpoints_file, membership, on_error=failing("file"))
        try:
            watch.load()
        except (OSError, OctavoError) as error:
            reason = f"{error.strerror}." if isinstance(error, OSError) else error
            raise StartError(f"--endpoints-file {config.endpoints_file}: {reason}") from None
        found.append(watch)
    return found
