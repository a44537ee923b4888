"""The life of a fleet: every member is started, watched, and started again; at the end the router goes first.

A replica that has been ready and gives no sign of life any more is killed, so that it can be started again.
Those of a model that is started on demand sleep while nobody asks for it.
Nothing of a request passes through here.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence

from octavo.core.counted import counted
from octavo.fleet.member import EXIT_USER_ERROR, Member
from octavo.fleet.on_demand import OnDemand
from octavo.fleet.router_view import RouterView, Row
from octavo.http.background import in_background
from octavo.http.process import StopSignals, drain_notice, wait_for_any
from octavo.router.endpoints import Endpoint
from octavo.router.health import HealthMonitor

LOOK_SECONDS = 0.5  # between two looks at the router's table
MAX_SILENCES = 5  # of a router in a row, that had answered; then it is killed
ENDING_SECONDS = 5.0  # for a member that has nothing left to do, or is to end at once


@dataclasses.dataclass(slots=True)
class Watched:
    """A member and its health. num_requests: under way there, as the router counts them."""

    member: Member
    endpoint: Endpoint
    num_requests: int = 0

    def observe(self, state: str) -> None:
        """What a probe of it has found."""
        if self.member.state not in ("starting", "ready", "unready"):
            return  # a late answer of a process that is gone, or that goes
        if state == "lost":
            self.member.become("unready", f"gives no sign of life ({self.endpoint.complaint}): killed")
            self.member.kill()
        else:
            self.member.become(state, self.endpoint.complaint)

    def forget(self) -> None:
        """The process is gone, and its requests with it; the next one's first good probe is news."""
        self.endpoint.is_ready = False
        self.num_requests = 0


class Supervisor:
    def __init__(
        self,
        router: Watched | None,
        replicas: Sequence[Watched],
        *,
        monitor: HealthMonitor,
        view: RouterView | None,
        on_demand: Sequence[OnDemand] = (),
        say: Callable[[str], None],
        drain_seconds: float,
        look_seconds: float = LOOK_SECONDS,
        ending_seconds: float = ENDING_SECONDS,
    ) -> None:
        """view: of the router. say: one line for people."""
        self._router = router
        self._replicas = list(replicas)
        self._monitor = monitor
        self._view = view
        self._on_demand = on_demand
        self._say = say
        self._drain_seconds = drain_seconds
        self._look_seconds = look_seconds
        self._ending_seconds = ending_seconds
        self.hopeless: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Set when the router, or every replica, refuses to start as it was asked to: the reason."""

    @property
    def watched(self) -> list[Watched]:
        return [*([] if self._router is None else [self._router]), *self._replicas]

    @property
    def num_requests(self) -> int:
        return sum(replica.num_requests for replica in self._replicas)

    @property
    def is_whole(self) -> bool:
        """Every member is ready, or sleeps until it is needed."""
        return all(watched.member.state in ("ready", "asleep") for watched in self.watched)

    async def run(self, signals: StopSignals) -> None:
        """Until a signal, and then until all have ended; or until hopeless."""
        members = {asyncio.create_task(watched.member.run()): watched.member for watched in self.watched}
        looking = [
            in_background(self._monitor.watch(replica.endpoint), f"A watch over {replica.member.name}")
            for replica in self._replicas
        ]
        looking.append(in_background(self._look(), "The watch over the router"))
        try:
            await wait_for_any(self.hopeless, signals.first.wait())
            if not self.hopeless.done():
                await self._drain(signals)
            for task in looking:
                task.cancel()
            await self._end(members)
        finally:
            for task in (*looking, *members):
                task.cancel()
            await asyncio.gather(*looking, *members, return_exceptions=True)

    def change(self, member: Member) -> None:
        """A member's new state; on_change of every one of them."""
        if member.state in ("waiting", "starting", "asleep", "ended"):
            is_router = self._router is not None and self._router.member is member
            for watched in self.watched:
                if watched.member is member:
                    watched.forget()
                elif is_router:
                    watched.num_requests = 0  # all of them came through it
        routers = [] if self._router is None else [self._router]
        for group in (routers, self._replicas):
            if group and all(_refuses(each.member) for each in group) and not self.hopeless.done():
                self.hopeless.set_result(group[0].member.last_line)

    async def _look(self) -> None:
        """At the router: what it answers for, and whether it answers."""
        if self._router is None or self._view is None:
            return
        num_silences = 0
        while True:
            rows = await self._view.rows()
            if rows is not None:
                num_silences = 0
                self._take(self._router, rows)
            elif self._router.member.state in ("ready", "unready"):
                num_silences += 1
                if num_silences >= MAX_SILENCES:
                    self._router.endpoint.complaint = "its table of endpoints is not answered"
                    self._router.observe("lost")
            await asyncio.sleep(self._look_seconds)

    def _take(self, router: Watched, rows: Sequence[Row]) -> None:
        by_name = {row.name: row for row in rows}
        for replica in self._replicas:
            row = by_name.get(replica.member.name)
            replica.num_requests = 0 if row is None else row.requests
        for model in self._on_demand:
            model.observe(by_name)
        router.num_requests = self.num_requests
        is_of_use = bool(self._on_demand) or any(row.ready for row in rows)
        router.endpoint.complaint = "" if is_of_use else "it sees no replica that is ready"
        if is_of_use or router.member.state != "starting":
            router.observe("ready" if is_of_use else "unready")

    async def _drain(self, signals: StopSignals) -> None:
        """The router takes no more requests and ends after the last; a second signal, and it ends at once."""
        self._say(drain_notice(self._drain_seconds, self.num_requests))
        first = self._replicas if self._router is None else [self._router]
        for watched in first:
            watched.member.stop()
        draining = asyncio.create_task(self._report_until_ended(first))
        await wait_for_any(draining, signals.second.wait())
        draining.cancel()
        if signals.second.is_set():
            self._say(f"stopping at once: {counted(self.num_requests, 'request')} cut off")
            for watched in first:
                watched.member.stop()  # its own second signal
            await self._until_ended(first, self._ending_seconds)

    async def _report_until_ended(self, watched: Sequence[Watched]) -> None:
        """Whenever the number has changed, say how many requests are left."""
        deadline = asyncio.get_running_loop().time() + self._drain_seconds + self._ending_seconds
        said = self.num_requests
        while not _have_ended(watched) and asyncio.get_running_loop().time() < deadline:
            await self._until_ended(watched, self._look_seconds)
            if self.num_requests != said and not _have_ended(watched):
                said = self.num_requests
                self._say(f"{counted(said, 'request')} left")

    async def _until_ended(self, watched: Sequence[Watched], seconds: float) -> None:
        waiting = [asyncio.create_task(each.member.ended.wait()) for each in watched]
        await asyncio.wait(waiting, timeout=seconds)
        for task in waiting:
            task.cancel()

    async def _end(self, members: "dict[asyncio.Task[None], Member]") -> None:
        """The replicas have nothing left to do: they end, or are killed."""
        for member in members.values():
            if not member.ended.is_set():
                member.stop()
        await asyncio.wait(members, timeout=self._ending_seconds)
        for member in members.values():
            member.kill()
        await asyncio.wait(members, timeout=self._ending_seconds)


def _refuses(member: Member) -> bool:
    """What it was asked to do is the mistake, and remains one."""
    return member.state == "waiting" and member.exit_code == EXIT_USER_ERROR and not member.has_been_ready


def _have_ended(watched: Sequence[Watched]) -> bool:
    return all(each.member.ended.is_set() for each in watched)
