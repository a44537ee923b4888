"""A sweep end to end on virtual time: from a workload to exact figures."""

import pytest

from octavo.bench.load import FixedConcurrency
from octavo.bench.sender import Sender
from octavo.bench.summary import Targets, summarize
from octavo.bench.sweep import Step, Sweep, enough_requests
from octavo.bench.workload import Length, MultiTurnWorkload, RandomWorkload
from tests.bench.scripted_server import NullWatcher, ScriptedServer
from tests.bench.virtual_loop import now, run_virtually

FOUR = Length(4, 4)


def sweep_of(server: ScriptedServer, turns: int = 1) -> Sweep:
    sender = Sender(server, "m", "completions", True, 600.0, now)

    def workload_of(seed: int) -> RandomWorkload | MultiTurnWorkload:
        if turns > 1:
            return MultiTurnWorkload(False, turns, FOUR, FOUR, seed)
        return RandomWorkload("tokens", FOUR, FOUR, seed)

    return Sweep("a server", sender.send, workload_of, 5, now, NullWatcher())


def test_the_figures_of_a_server_with_two_places() -> None:
    """Two at once, 0.13 s each: four users wait for a place one time in two."""
    server = ScriptedServer(first=0.1, gap=0.01, places=2)

    async def main() -> list[object]:
        sweep = sweep_of(server)
        steps = [Step(f"{users} users", FixedConcurrency(users), None, 8) for users in (1, 2, 4)]
        cells = [await sweep.run(number, step) for number, step in enumerate(steps)]
        return [summarize(cell, Targets(ttft=0.2)) for cell in cells]

    one, two, four = run_virtually(main())
    assert one.output_tokens_per_second == pytest.approx(4 / 0.13)
    assert two.output_tokens_per_second == pytest.approx(8 / 0.13)
    assert four.output_tokens_per_second == pytest.approx(8 / 0.13)
    assert [one.ttft_seconds.max, two.ttft_seconds.max] == pytest.approx([0.1, 0.1])
    assert four.ttft_seconds.max == pytest.approx(0.23)
    assert four.itl_seconds.p50 == pytest.approx(0.01)
    assert (two.serving.good_share, four.serving.good_share) == (1.0, 0.25)
    assert four.concurrency == 4 and four.num_requests == 8


def test_no_load_asks_what_another_has_asked() -> None:
    server = ScriptedServer()

    async def main() -> None:
        sweep = sweep_of(server)
        assert (await sweep.warm_up()).failure is None
        for number in range(2):
            await sweep.run(number, Step("1 user", FixedConcurrency(1), None, 3))

    run_virtually(main())
    prompts = [tuple(body["prompt"]) for body in server.bodies]
    assert len(set(prompts)) == len(prompts) == 7


@pytest.mark.parametrize(("num_requests", "asked"), [(6, 6), (7, 9)])
def test_conversations_are_asked_to_their_end(num_requests: int, asked: int) -> None:
    server = ScriptedServer()
    step = Step("1 user", FixedConcurrency(1), None, num_requests)
    cell = run_virtually(sweep_of(server, turns=3).run(0, step))
    assert len(cell.records) == asked


def test_more_load_is_more_requests() -> None:
    assert enough_requests(1) == enough_requests(0.5) == 32 and enough_requests(64) == 256
