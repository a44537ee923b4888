"""A router before two real replicas: faults under streams of every kind, as if nothing had happened.

Each fault is known to have happened, and by the same measures nothing has when there was none. The long
version, with 48 streams, prints the pauses.
"""

import dataclasses
import pathlib
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from tests.e2e.failover.faults import Fault, faults, is_seen
from tests.e2e.failover.fleet import SECRET, Replica, replicas, routed
from tests.e2e.failover.streams import Answer, Asked, Progress, differences, mixed, pauses, run, stopped

OPTIONS = (
    *("--kv-cache-memory", "256MiB", "--max-model-len", "512", "--threads", "1"),
    *("--drain-seconds", "0.1"),
)
FAULTS = faults(silence=3.0)  # seconds without a token, and the router goes elsewhere


@dataclasses.dataclass
class Trial:
    """Two replicas, what they are asked, and what they answer when nobody disturbs them."""

    replicas: list[Replica]
    asked: list[Asked]
    undisturbed: list[Answer]

    async def suffer(
        self, fault: Fault, secret: str | None = SECRET
    ) -> tuple[list[Answer], dict[str, float]]:
        """The answers of a run with a fault, known to have happened, and the failovers that it cost.

        It strikes the first replica when all streams have begun, and one of its own is in the middle of its
        stop string.
        """
        victim = self.replicas[0]
        happened: list[Callable[[], bool]] = []

        async def disturb(progress: Progress) -> None:
            if not happened and all(progress.endpoints) and self.is_held_back(progress):
                happened.append(fault.inject(victim))

        try:
            async with routed(
                self.replicas, inter_token_seconds=fault.inter_token_seconds, secret=secret
            ) as fleet:
                answers = await run(fleet.url, self.asked, disturb)
                assert happened and await is_seen(happened[0]), f"no {fault.name}"
                return answers, await fleet.failovers()
        finally:
            await victim.heal()

    def check(self, answers: list[Answer]) -> None:
        found = differences(self.asked, answers, self.undisturbed)
        assert not found, "\n" + "\n".join(found)

    def is_held_back(self, progress: Progress) -> bool:
        """Whether a client of the victim has all of the text that goes before its stop string, and waits."""
        rows = zip(self.asked, progress.answers, self.undisturbed, progress.endpoints, strict=True)
        return any(
            asked.kind == "stop string"
            and endpoint == "endpoint=r0"
            and not answer.finish_reasons
            and answer.texts[0] == whole.texts[0]
            for asked, answer, whole, endpoint in rows
        )


@dataclasses.dataclass(frozen=True)
class Size:
    per_kind: int
    max_tokens: int


SHORT = Size(per_kind=2, max_tokens=32)
LONG = Size(per_kind=8, max_tokens=60)


async def trial_of(made: list[Replica], size: Size) -> Trial:
    """Ask everything once, and everything with a stop string of its answer; see that twice is the same."""
    asked = mixed(size.per_kind, size.max_tokens)
    async with routed(made, inter_token_seconds=60.0) as fleet:
        asked += stopped(asked[: size.per_kind], await run(fleet.url, asked[: size.per_kind]))
        undisturbed = await run(fleet.url, asked)
        assert not differences(asked, await run(fleet.url, asked), undisturbed)
        assert await fleet.failovers() == {}  # nothing has happened, and nothing is seen to have
    assert all(answer.is_whole for answer in undisturbed)
    assert len({answer.texts[0] for answer in undisturbed}) > len(asked) // 2
    return Trial(made, asked, undisturbed)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(smollm2_path: pathlib.Path) -> AsyncIterator[list[Replica]]:
    async with replicas(2, (str(smollm2_path), *OPTIONS)) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def short(pair: list[Replica]) -> Trial:
    return await trial_of(pair, SHORT)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def long(pair: list[Replica]) -> Trial:
    return await trial_of(pair, LONG)


def check_failovers(fault: Fault, found: dict[str, float]) -> None:
    """The router has seen what was done, and nothing else."""
    assert bool(found) == bool(fault.reasons) and set(found) <= set(fault.reasons), (fault.name, found)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_a_fault_costs_nobody_anything(short: Trial, fault: Fault) -> None:
    answers, failovers = await short.suffer(fault)
    short.check(answers)
    check_failovers(fault, failovers)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_a_fault_under_48_streams_costs_nobody_anything(
    long: Trial, fault: Fault, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(long.asked) == 48
    answers, failovers = await long.suffer(fault)
    long.check(answers)
    check_failovers(fault, failovers)
    (median, worst), (usual, usual_worst) = pauses(long.asked, answers), pauses(long.asked, long.undisturbed)
    with capsys.disabled():
        print(
            f"\n{fault.name}: 48 of 48 streams identical; longest pause p50 {median:.2f} s, p99 {worst:.2f} s"
            f" (undisturbed {usual:.2f} and {usual_worst:.2f} s)"
        )


@pytest.mark.asyncio(loop_scope="module")
async def test_without_a_shared_secret_the_same_fault_is_felt(short: Trial) -> None:
    """So it is the failover that the others owe their answers to."""
    answers, failovers = await short.suffer(FAULTS[0], secret=None)
    failed = [answer for answer in answers if not answer.is_whole]
    assert failed and {answer.error for answer in failed} == {"endpoint_broke_off"}
    assert failovers == {}
