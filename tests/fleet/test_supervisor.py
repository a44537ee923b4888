"""What a probe's finding makes of a member; when a fleet is hopeless. test_run.py has the whole life."""

import asyncio

import pytest

from octavo.fleet.member import Member
from octavo.fleet.supervisor import Supervisor, Watched
from octavo.router.endpoints import Endpoint
from octavo.router.health import HealthMonitor

pytestmark = pytest.mark.asyncio


def watched(name: str, state: str = "starting", reason: str = "") -> Watched:
    member = Member(name, [], {}, on_line=lambda name, text: None, on_change=lambda member: None)
    member.become(state, reason)
    return Watched(member, Endpoint("http://127.0.0.1:1", name=name))


def supervisor(*replicas: Watched, router: Watched | None = None) -> Supervisor:
    monitor = HealthMonitor()
    return Supervisor(router, replicas, monitor=monitor, view=None, say=lambda text: None, drain_seconds=1.0)


@pytest.mark.parametrize(
    ("before", "found", "after"),
    [
        ("starting", "ready", "ready"),
        ("ready", "unready", "unready"),
        ("ready", "lost", "unready"),
        ("waiting", "ready", "waiting"),
        ("stopping", "unready", "stopping"),
        ("ended", "lost", "ended"),
    ],
)
async def test_only_a_living_member_has_health(before: str, found: str, after: str) -> None:
    replica = watched("r0", before)
    replica.observe(found)
    assert replica.member.state == after


async def test_after_a_death_the_first_good_probe_is_news() -> None:
    replica = watched("r0", "waiting")
    replica.endpoint.is_ready = True
    supervisor(replica).change(replica.member)
    assert not replica.endpoint.is_ready


async def test_who_is_gone_answers_nothing() -> None:
    replicas, router = [watched(f"r{number}", "ready") for number in range(2)], watched("router", "ready")
    fleet = supervisor(*replicas, router=router)
    for each, count in zip((router, *replicas), (5, 2, 3), strict=True):
        each.num_requests = count
    replicas[0].member.become("waiting", "it was killed")
    fleet.change(replicas[0].member)
    assert [each.num_requests for each in fleet.watched] == [5, 0, 3]
    router.member.become("ended", "")
    fleet.change(router.member)
    assert fleet.num_requests == 0 and router.num_requests == 0


@pytest.mark.parametrize(
    ("exit_codes", "router_code", "is_hopeless"),
    [((2, 2), None, True), ((2, 1), None, False), ((1, 1), 2, True), ((-9, -9), None, False)],
)
async def test_hopeless_is_who_refuses_not_who_dies(
    exit_codes: tuple[int, int], router_code: int | None, is_hopeless: bool
) -> None:
    replicas = [watched(f"r{number}", "waiting") for number in range(2)]
    for replica, code in zip(replicas, exit_codes, strict=True):
        replica.member.exit_code, replica.member.last_line = code, "why"
    router = watched("router", "waiting" if router_code else "starting")
    router.member.exit_code, router.member.last_line = router_code, "why"
    fleet = supervisor(*replicas, router=router)
    fleet.change(replicas[0].member)
    await asyncio.sleep(0)
    assert fleet.hopeless.done() == is_hopeless
    assert not is_hopeless or fleet.hopeless.result() == "why"


async def test_one_that_has_been_ready_is_not_hopeless() -> None:
    replica = watched("r0", "ready")
    replica.member.become("waiting", "")
    replica.member.exit_code = 2
    fleet = supervisor(replica)
    fleet.change(replica.member)
    assert not fleet.hopeless.done()
