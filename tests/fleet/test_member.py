"""One process: its lines, its deaths, its restarts, and that nobody is left when its supervisor is gone."""

import asyncio
import os
import signal
import sys

import pytest

from octavo.fleet.member import Backoff, Member
from tests.fleet.fakes import until

pytestmark = pytest.mark.asyncio

QUICK = Backoff(first=0.01, longest=0.04, well=100.0)


class Watcher:
    def __init__(self, code: str, backoff: Backoff = QUICK, command: tuple[str, ...] | None = None) -> None:
        self.lines: list[tuple[str, str]] = []
        self.states: list[str] = []
        self.reasons: list[str] = []
        self.now = 0.0
        self.member = Member(
            "m",
            ["--flag"],
            dict(os.environ),
            on_line=lambda name, text: self.lines.append((name, text)),
            on_change=self._note,
            backoff=backoff,
            command=command or (sys.executable, "-S", "-c", code),
            clock=lambda: self.now,
        )

    async def run_until_started(self, times: int) -> None:
        task = asyncio.create_task(self.member.run())
        await until(lambda: self.member.num_starts == times)
        self.member.stop()
        await task

    def _note(self, member: Member) -> None:
        self.states.append(member.state)
        self.reasons.append(member.reason)


SLEEP = "import sys, time; print('up', *sys.argv[2:], flush=True); time.sleep(100)"


async def test_its_lines_are_handed_on_and_it_is_asked_to_end() -> None:
    watcher = Watcher(SLEEP)
    task = asyncio.create_task(watcher.member.run())
    await until(lambda: bool(watcher.lines))
    assert watcher.lines == [("m", "up --flag")]
    assert os.getpgid(watcher.member.pid or 0) != os.getpgid(0)  # a Ctrl-C is not for it
    watcher.member.stop()
    await task
    assert watcher.states == ["starting", "stopping", "ended"]
    assert (watcher.member.exit_code, watcher.member.ended.is_set()) == (-signal.SIGTERM, True)


async def test_whatever_signal_it_dies_of_it_is_started_again() -> None:
    watcher = Watcher("import os; os.kill(os.getpid(), 40)")
    await watcher.run_until_started(2)
    assert any(reason.startswith("was killed by signal 40;") for reason in watcher.reasons)


async def test_one_that_dies_is_started_again_and_waits_longer_each_time() -> None:
    watcher = Watcher("print('no such file', flush=True); raise SystemExit(3)")
    await watcher.run_until_started(4)
    waits = [reason for reason in watcher.reasons if "started again" in reason][:3]
    assert waits == [
        f"ended with exit code 3 (no such file); started again in {delay} s"
        for delay in ("0.01", "0.02", "0.04")
    ]


@pytest.mark.parametrize(("code", "reason"), [(0, ""), (3, "ended with exit code 3 (it did not work)")])
async def test_one_that_ends_badly_says_why(code: int, reason: str) -> None:
    watcher = Watcher(
        "import signal, sys; signal.signal(15, lambda *_: print('octavo: it did not work.') or sys.exit("
        f"{code})); print('up', flush=True); signal.pause()"
    )
    task = asyncio.create_task(watcher.member.run())
    await until(lambda: bool(watcher.lines))
    watcher.member.stop()
    await task
    assert (watcher.states[-1], watcher.reasons[-1]) == ("ended", reason)


async def stop_while_it_waits(watcher: Watcher) -> None:
    task = asyncio.create_task(watcher.member.run())
    await until(lambda: watcher.member.state == "waiting")
    watcher.member.stop()
    await task


async def test_one_that_waits_to_be_started_again_has_said_why_when_it_ends() -> None:
    watcher = Watcher("raise SystemExit(3)", Backoff(first=1e6, longest=1e6))
    await stop_while_it_waits(watcher)
    assert watcher.reasons[-2:] == ["ended with exit code 3; started again in 1e+06 s", ""]


async def test_one_that_sleeps_has_no_process_until_it_is_woken() -> None:
    watcher = Watcher(SLEEP)
    member = watcher.member
    member.sleep("until it is needed")
    task = asyncio.create_task(member.run())
    await until(lambda: member.state == "asleep")
    assert (member.pid, member.num_starts, member.reason) == (None, 0, "until it is needed")
    for number in (1, 2):
        member.wake()
        await until(lambda count=number: len(watcher.lines) == count)
        member.sleep("nobody asks")
        await until(lambda: member.state == "asleep")
        assert (member.pid, member.num_starts) == (None, number)
    member.stop()
    await task
    assert watcher.states == ["asleep", *["starting", "stopping", "asleep"] * 2, "ended"]


async def test_one_that_is_woken_while_it_ends_starts_at_once() -> None:
    watcher = Watcher(SLEEP, Backoff(first=1e6, longest=1e6))
    task = asyncio.create_task(watcher.member.run())
    await until(lambda: len(watcher.lines) == 1)
    watcher.member.sleep("nobody asks")
    watcher.member.wake()
    await until(lambda: len(watcher.lines) == 2)
    assert watcher.states == ["starting", "stopping", "starting"]
    watcher.member.stop()
    await task


async def test_one_that_waits_to_be_started_again_may_be_put_to_sleep() -> None:
    watcher = Watcher("raise SystemExit(3)", Backoff(first=1e6, longest=1e6))
    task = asyncio.create_task(watcher.member.run())
    await until(lambda: watcher.member.state == "waiting")
    watcher.member.sleep("nobody asks")
    await until(lambda: watcher.member.state == "asleep")
    watcher.member.stop()
    await task


@pytest.mark.parametrize(("seconds_ready", "num_deaths"), [(99.0, 2), (100.0, 1)])
async def test_after_a_while_in_good_health_earlier_deaths_are_forgotten(
    seconds_ready: float, num_deaths: int
) -> None:
    watcher = Watcher(SLEEP)
    task = asyncio.create_task(watcher.member.run())
    for expected_starts, expected_delay in ((1, 0.01), (2, QUICK.delay(num_deaths))):
        await until(lambda count=expected_starts: len(watcher.lines) == count)
        watcher.member.become("ready", "")
        watcher.now += seconds_ready if expected_starts == 2 else 0.0
        watcher.member.kill()
        await until(lambda count=expected_starts: len(watcher.lines) == count + 1)
        assert watcher.reasons[-2] == f"was killed by SIGKILL; started again in {expected_delay:g} s"
    watcher.member.stop()
    await task


async def test_one_that_cannot_be_spawned_is_retried() -> None:
    watcher = Watcher("", command=("/no/such/program",))
    await watcher.run_until_started(3)
    assert "cannot be started: " in watcher.reasons[0]


async def test_a_stop_while_it_waits_ends_it_at_once() -> None:
    watcher = Watcher("raise SystemExit(1)", Backoff(first=1000.0, longest=1000.0))
    await stop_while_it_waits(watcher)
    assert watcher.member.num_starts == 1


async def test_cancelled_it_leaves_no_process() -> None:
    watcher = Watcher(SLEEP)
    task = asyncio.create_task(watcher.member.run())
    await until(lambda: bool(watcher.lines))
    pid = watcher.member.pid
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(lambda: not os.path.exists(f"/proc/{pid}"))
