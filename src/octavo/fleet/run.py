"""`octavo up` from its first line to its last: plan, reserve ports, start the supervisor, report its end."""

import asyncio
import dataclasses
import pathlib
import secrets
import sys
import time
from collections.abc import Mapping, Sequence

from rich.console import Console

from octavo import __version__
from octavo.config import Environment
from octavo.core.counted import counted
from octavo.core.errors import StartError
from octavo.core.fitting import fitted
from octavo.engine.resources import available_cores, available_memory_bytes
from octavo.fleet.display import Display
from octavo.fleet.held_lines import HeldLines
from octavo.fleet.logs import LogFolder
from octavo.fleet.member import COMMAND, Backoff, Member
from octavo.fleet.on_demand import OnDemand
from octavo.fleet.plan import HEALTH_INTERVAL_SECONDS, LOCALHOST, FleetPlan, Machine, ReplicaPlan, plan_fleet
from octavo.fleet.ports import ReservedPort
from octavo.fleet.router_view import RouterView
from octavo.fleet.supervisor import LOOK_SECONDS, Supervisor, Watched
from octavo.fleet.values import FleetValues
from octavo.http.process import StopSignals
from octavo.models.source import resolve, whereabouts
from octavo.router.endpoints import Endpoint
from octavo.router.health import HealthLimits, HealthMonitor

ROUTER_NAME = "router"
LABEL_WIDTH = 10  # of the plan's lines
HEALTH_LIMITS = HealthLimits(interval_seconds=HEALTH_INTERVAL_SECONDS)


def describe_fleet(values: FleetValues) -> tuple[FleetPlan, list[str]]:
    """How this machine would be divided, and the lines that say so. Raises StartError."""
    machine = Machine(available_cores(), available_memory_bytes())
    plan = plan_fleet(values, machine)
    replicas, cores = counted(len(plan.replicas), "replica"), counted(machine.cores, "core")
    lines = [f"octavo {__version__}: {replicas} on {cores}", *(f"  {line}" for line in plan.lines())]
    if values.not_honoured:
        lines.append("without effect on one machine:")
        lines += [f"  {line}" for line in values.not_honoured]
    return plan, lines


def missing_models(values: FleetValues, home: pathlib.Path) -> list[str]:
    """A line for each model that is not on this disk; home is OCTAVO_HOME. Raises ModelFileError."""
    names = dict.fromkeys(model.name for model in values.models)
    return [text for name in names if (text := whereabouts(name, home)) is not None]


def run_fleet(values: FleetValues, environment: Environment) -> int:
    """Run until a signal; returns the exit code. Raises StartError when nothing can be started."""
    console = Console(stderr=True, no_color=environment.no_color or None)
    plan, lines = describe_fleet(values)
    paths = {name: resolve(name, environment.home) for name in {model.name for model in values.models}}
    for line in fitted("\n".join(lines), LABEL_WIDTH, sys.stderr).splitlines():
        console.print(line, soft_wrap=True, highlight=False, markup=False, emoji=False)
    fleet = FleetStart(plan, paths, environment, console)
    return asyncio.run(fleet.run())


@dataclasses.dataclass(frozen=True, slots=True)
class FleetStart:
    """All that a fleet is started with. command: what a member's own arguments are put behind."""

    plan: FleetPlan
    paths: Mapping[str, pathlib.Path]  # of the models, by the name they were given
    environment: Environment
    console: Console
    command: Sequence[str] = COMMAND
    backoff: Backoff = dataclasses.field(default_factory=Backoff)
    health: HealthLimits = HEALTH_LIMITS
    look_seconds: float = LOOK_SECONDS

    async def run(self) -> int:
        router, replicas = self.plan.router, self.plan.replicas
        ports = {ROUTER_NAME: ReservedPort(router.host, router.port)} if router.is_enabled else {}
        ports |= {replica.name: ReservedPort(LOCALHOST, 0) for replica in replicas}
        first = next(iter(ports.values()))
        logs = LogFolder(self.environment.home / "logs" / f"up-{first.number}")
        try:
            for name in ports:
                logs.open(name)
        except OSError as error:
            raise StartError(f"{logs.path}: {error.strerror}; OCTAVO_HOME says where logs go.") from None
        display = Display(self.console, list(ports), url_of=lambda name: f"{ports[name].url}/v1")
        display.say(f"  logs    {logs.path}, a file each")
        fleet = Fleet(self, ports, display, logs)
        try:
            with display.show(lambda: fleet.supervisor.watched):
                await fleet.supervisor.run(StopSignals())
        finally:
            logs.close()
            for port in ports.values():
                port.release()
        if fleet.supervisor.hopeless.done():
            raise StartError(fleet.supervisor.hopeless.result().removeprefix("octavo: "))
        display.say("all have ended")
        return 0


class Fleet:
    """The objects of a running fleet, wired together."""

    def __init__(
        self, start: FleetStart, ports: Mapping[str, ReservedPort], display: Display, logs: LogFolder
    ) -> None:
        self._start = start
        self._ports = ports
        self._display = display
        self._logs = logs
        self._lines = HeldLines(display.line, ROUTER_NAME)
        self._began = time.monotonic()
        self._has_been_whole = False
        self._secret = start.environment.secret or secrets.token_hex(16)
        self._api_key = start.environment.api_key
        if self._api_key is None and start.plan.router.api_key_file is not None:
            self._api_key = secrets.token_hex(16)  # for what the members ask each other
        self._variables = Environment.for_members(self._secret, self._api_key)
        self.supervisor = self._supervisor()

    def _supervisor(self) -> Supervisor:
        start, plan = self._start, self._start.plan
        replicas = [self._replica(replica) for replica in plan.replicas]
        by_endpoint = {replica.endpoint: replica for replica in replicas}
        monitor = HealthMonitor(
            api_key=self._api_key,
            secret=self._secret,
            limits=start.health,
            on_change=lambda endpoint, state: by_endpoint[endpoint].observe(state),
        )
        router = view = None
        if plan.router.is_enabled:
            router, view = self._router()
        members = [replica.member for replica in replicas]
        return Supervisor(
            router,
            replicas,
            monitor=monitor,
            view=view,
            on_demand=_on_demand(plan, members),
            say=self._display.say,
            drain_seconds=plan.router.drain_seconds,
            look_seconds=start.look_seconds,
        )

    def _replica(self, plan: ReplicaPlan) -> Watched:
        path, port = self._start.paths[plan.model.name], self._ports[plan.name].number
        return self._watched(plan.name, plan.arguments(path, port, self._start.plan.router))

    def _router(self) -> tuple[Watched, RouterView]:
        plan, port = self._start.plan, self._ports[ROUTER_NAME]
        urls = [self._ports[replica.name].url for replica in plan.replicas]
        view = RouterView(port.url, api_key=self._api_key, seconds=self._start.health.timeout_seconds)
        return self._watched(ROUTER_NAME, plan.router_arguments(port.number, urls)), view

    def _watched(self, name: str, arguments: Sequence[str]) -> Watched:
        member = Member(
            name,
            arguments,
            self._variables,
            on_line=self._take_line,
            on_change=self._take_change,
            command=self._start.command,
            backoff=self._start.backoff,
        )
        return Watched(member, Endpoint(self._ports[name].url, name=name))

    def _take_line(self, name: str, text: str) -> None:
        self._logs.write(name, text)
        self._lines.take(name, text)

    def _take_change(self, member: Member) -> None:
        self.supervisor.change(member)
        self._lines.observe(member)
        self._display.change(member)
        if self.supervisor.is_whole and not self._has_been_whole:
            self._has_been_whole = True
            seconds, url = time.monotonic() - self._began, next(iter(self._ports.values())).url
            self._display.say(f"ready in {seconds:.1f} s: {url}/v1")


def _on_demand(plan: FleetPlan, members: Sequence[Member]) -> list[OnDemand]:
    """members: of the plan's replicas, in their order."""
    groups: dict[str, list[Member]] = {}
    for replica, member in zip(plan.replicas, members, strict=True):
        groups.setdefault(replica.model_name, []).append(member)
    models = {replica.model_name: replica.model for replica in plan.replicas}
    return [
        OnDemand(
            group, starts_asleep=models[name].starts_on_first_request, idle_seconds=models[name].idle_seconds
        )
        for name, group in groups.items()
        if models[name].is_on_demand
    ]
