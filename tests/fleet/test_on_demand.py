"""Replicas that sleep while nobody asks for their model: who is woken, who is stopped, and when."""

import dataclasses
from typing import Any

import pytest

from octavo.fleet.on_demand import OnDemand
from octavo.fleet.router_view import Row


@dataclasses.dataclass
class Sleeper:
    name: str
    reason: str | None = None  # of its sleep
    is_killed: bool = False

    def sleep(self, reason: str) -> None:
        self.reason = self.reason or reason

    def wake(self) -> None:
        self.reason = None

    def kill(self) -> None:
        self.is_killed = True


class Model:
    def __init__(self, *, starts_asleep: bool = True, idle_seconds: float | None = None) -> None:
        self.now = 100.0
        self.sleepers = [Sleeper("r1"), Sleeper("r2")]
        members: Any = self.sleepers
        self.on_demand = OnDemand(
            members,
            starts_asleep=starts_asleep,
            idle_seconds=idle_seconds,
            ending_seconds=5.0,
            clock=lambda: self.now,
        )

    @property
    def reasons(self) -> set[str | None]:
        return {sleeper.reason for sleeper in self.sleepers}

    def look(self, seconds: float, *, waiting: int = 0, requests: int = 0, received: int = 0) -> None:
        """After so long the router says this of r2; of r1 it says that there is nothing."""
        self.now += seconds
        rows = [Row("r0", True, 9, 9, 9), Row("r1", False, 0, 0, waiting)]
        rows.append(Row("r2", False, requests, received, waiting))
        self.on_demand.observe({row.name: row for row in rows})


def test_all_of_a_model_start_when_somebody_waits_for_it() -> None:
    model = Model()
    assert model.reasons == {"until the first request"}
    model.look(1)
    assert model.reasons == {"until the first request"}
    model.look(1, waiting=1)
    assert model.reasons == {None}


def test_without_an_idle_timeout_they_stay() -> None:
    model = Model()
    model.look(1, waiting=1)
    model.look(1e9)
    assert model.reasons == {None}


@pytest.mark.parametrize("busy", [{"requests": 1}, {"received": 1}, {"waiting": 1}])
def test_they_are_stopped_when_nobody_has_asked_for_so_long(busy: dict[str, int]) -> None:
    model = Model(starts_asleep=False, idle_seconds=60.0)
    model.look(0)
    model.look(59)
    model.look(0, **busy)
    model.look(59, received=busy.get("received", 0))
    assert model.reasons == {None}
    model.look(1, received=busy.get("received", 0))
    assert model.reasons == {"no request for 60 s"}
    model.look(0, waiting=1)
    assert model.reasons == {None}


def test_who_does_not_end_is_killed() -> None:
    model = Model(starts_asleep=False, idle_seconds=60.0)
    model.look(0)
    model.look(64)
    assert not any(sleeper.is_killed for sleeper in model.sleepers)
    model.look(1)
    assert all(sleeper.is_killed for sleeper in model.sleepers)


def test_a_router_that_has_forgotten_everything_is_no_idle_time() -> None:
    model = Model(starts_asleep=False, idle_seconds=60.0)
    model.look(0, received=7)
    model.look(60, received=0)
    assert model.reasons == {None}
