"""A whole fleet of fake processes, from its first line to its last."""

import asyncio
import contextlib
import io
import os
import pathlib
import signal
from collections.abc import AsyncIterator

import pytest
from rich.console import Console

from octavo.config import Environment
from octavo.core.errors import StartError
from octavo.fleet.member import Backoff
from octavo.fleet.plan import Machine, plan_fleet
from octavo.fleet.run import FleetStart, describe_fleet
from octavo.fleet.values import FleetValues, ModelValues, RouterValues
from octavo.router.health import HealthLimits
from tests.fleet.fakes import FAKE_COMMAND, until

pytestmark = pytest.mark.asyncio

HEALTH = HealthLimits(interval_seconds=0.02, timeout_seconds=20.0, num_failures=2)
HASTY = HealthLimits(interval_seconds=0.02, timeout_seconds=0.5, num_failures=2)  # for who says nothing


class FakeFleet:
    """folder tells the members what to do; said is what the terminal would show."""

    def __init__(
        self, folder: pathlib.Path, router: RouterValues, model: ModelValues, health: HealthLimits
    ) -> None:
        self.folder = folder
        self._output = io.StringIO()
        values = FleetValues((model,), router)
        home = folder / "home"
        self.start = FleetStart(
            plan_fleet(values, Machine(2, 1 << 30)),
            {values.models[0].name: pathlib.Path("model.gguf")},
            Environment(home, None, None, "info"),
            Console(file=self._output, width=200),
            FAKE_COMMAND,
            Backoff(first=0.02, longest=0.02),
            health,
            look_seconds=0.02,
        )
        self.task: asyncio.Task[int]

    @property
    def said(self) -> str:
        return self._output.getvalue()

    async def until_said(self, text: str, count: int = 1) -> None:
        await until(lambda: self.said.count(text) >= count or self.task.done())
        assert self.said.count(text) >= count, self.said

    def pids(self, kind: str) -> list[int]:
        """Of all processes ever started, in order."""
        return [int(line.split()[0]) for line in (self.folder / f"{kind}.log").read_text().splitlines()]


@contextlib.asynccontextmanager
async def fleet(
    folder: pathlib.Path,
    router: RouterValues | None = None,
    model: ModelValues | None = None,
    health: HealthLimits = HEALTH,
) -> AsyncIterator[FakeFleet]:
    started = FakeFleet(folder, router or RouterValues(port=0), model or ModelValues(replicas=2), health)
    started.task = asyncio.create_task(started.start.run())
    try:
        yield started
        if not started.task.done():
            os.kill(os.getpid(), signal.SIGINT)
            assert await started.task == 0
            assert started.said.endswith("all have ended\n")
    finally:
        started.task.cancel()
        await asyncio.gather(started.task, return_exceptions=True)
    for kind in ("serve", "route"):
        log = folder / f"{kind}.log"
        assert not log.exists() or not any(os.path.exists(f"/proc/{pid}") for pid in started.pids(kind))


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv("FAKE_FLEET", str(tmp_path))
    return tmp_path


async def test_it_starts_serves_and_ends(folder: pathlib.Path) -> None:
    async with fleet(folder) as started:
        await started.until_said("ready in ")
    for name in ("router", "r0", "r1"):
        assert f"{name} is ready: http://127.0.0.1:" in started.said
    assert " | " not in started.said  # what they say while all goes well is in their logs
    (log,) = (folder / "home" / "logs").iterdir()
    assert "serve at " in (log / "r0.log").read_text()
    serve, route = (folder / "serve.log").read_text(), (folder / "route.log").read_text()
    assert serve.count("model.gguf --host=127.0.0.1 --port=") == 2
    shared = route.partition("secret=")[2]
    assert serve.count(shared) == 2 and shared.endswith("key=None\n")


@pytest.mark.parametrize("kind", ["serve", "route"])
async def test_who_is_killed_is_started_again_in_the_same_place(folder: pathlib.Path, kind: str) -> None:
    async with fleet(folder) as started:
        await started.until_said("ready in ")
        num_ready = started.said.count("is ready")
        os.kill(started.pids(kind)[0], signal.SIGKILL)
        await started.until_said("was killed by SIGKILL; started again in 0.02 s")
        await started.until_said("is ready", num_ready + 1)
    lines = [line.split(maxsplit=1)[1] for line in (folder / f"{kind}.log").read_text().splitlines()]
    assert lines[-1] in lines[:-1]


@pytest.mark.parametrize("kind", ["serve", "route"])
async def test_who_gives_no_sign_of_life_is_killed(folder: pathlib.Path, kind: str) -> None:
    async with fleet(folder, health=HASTY) as started:
        await started.until_said("ready in ")
        pid = started.pids(kind)[-1]
        with contextlib.suppress(
            ProcessLookupError
        ):  # on a busy machine it may have seemed to be gone before
            os.kill(pid, signal.SIGSTOP)
        await started.until_said("gives no sign of life")
        await started.until_said("was killed by SIGKILL")
        await until(lambda: not os.path.exists(f"/proc/{pid}"))


async def test_one_that_dies_at_its_start_is_retried_while_the_other_serves(folder: pathlib.Path) -> None:
    (folder / "serve.die-once").touch()
    async with fleet(folder) as started:
        await started.until_said("ready in ")
    assert "ended with exit code 1; started again in 0.02 s" in started.said
    assert len(started.pids("serve")) == 3


@pytest.mark.parametrize("kind", ["serve", "route"])
async def test_what_was_asked_wrongly_is_not_retried_for_ever(folder: pathlib.Path, kind: str) -> None:
    (folder / f"{kind}.refuse").touch()
    async with fleet(folder) as started:
        with pytest.raises(StartError, match=r"^the fake refuses\.$"):
            await started.task
    assert "ended with exit code 2 (the fake refuses); started again in 0.02 s" in started.said
    assert " | " not in started.said


async def test_the_end_says_how_many_requests_are_left_and_a_second_signal_does_not_wait(
    folder: pathlib.Path,
) -> None:
    (folder / "requests").write_text("2")
    async with fleet(folder) as started:
        await started.until_said("ready in ")
        os.kill(os.getpid(), signal.SIGINT)
        await started.until_said("shutting down: up to 30 s for 4 requests; Ctrl-C again stops at once")
        (folder / "requests").write_text("1")
        await started.until_said("left")
        assert not started.task.done()
    assert "stopping at once: " in started.said


async def test_with_keys_from_a_file_the_members_have_one_among_themselves(folder: pathlib.Path) -> None:
    async with fleet(folder, RouterValues(port=0, api_key_file=folder / "keys")) as started:
        await started.until_said("ready in ")
    serve, route = (folder / "serve.log").read_text(), (folder / "route.log").read_text()
    key = route.partition("key=")[2]
    assert len(key.strip()) == 32 and serve.count(key) == 2
    assert f"--api-key-file={folder / 'keys'}" in serve and f"--api-key-file={folder / 'keys'}" in route


async def test_a_fleet_without_a_router_has_its_replicas(folder: pathlib.Path) -> None:
    async with fleet(folder, RouterValues(is_enabled=False)) as started:
        await started.until_said("ready in ")
    assert not (folder / "route.log").exists()


async def test_replicas_that_start_on_the_first_request_and_sleep_when_nobody_asks(
    folder: pathlib.Path,
) -> None:
    model = ModelValues(replicas=2, num_standbys=1, starts_on_first_request=True, idle_seconds=0.1)
    async with fleet(folder, model=model) as started:
        await started.until_said("ready in ")
        assert started.said.count("sleeps: until the first request") == 3
        assert not (folder / "serve.log").exists()
        for count in (1, 2):
            (folder / "waiting").write_text("1")
            await until(lambda: started.said.count("is ready") == 1 + 3 * count)  # noqa: B023
            (folder / "waiting").unlink()
            await started.until_said("sleeps: no request for 0.1 s", 3 * count)
    assert len(started.pids("serve")) == 6
    options = (folder / "route.log").read_text()
    assert "--standby-endpoints=http://127.0.0.1:" in options
    assert "--on-demand-models=smollm2-135m-instruct --static-models=" in options


async def test_what_has_no_effect_is_listed() -> None:
    _, lines = describe_fleet(FleetValues(not_honoured=("line 1: a: b",)))
    assert lines[-2:] == ["without effect on one machine:", "  line 1: a: b"]
