"""What those who decode and those who wait for a first token notice of each other, in simulated time."""

import pytest

from octavo.backends.sim.backend import default_step_seconds
from tests.fakes_engine import SimEngine

NUM_STREAMS = 8


def prompt(count: int, seed: int) -> list[int]:
    return [(seed * 7919 + i * 31) % 1000 for i in range(count)]


def decoding(num_streams: int = NUM_STREAMS, **options: float | None) -> SimEngine:
    """An engine in which so many streams decode and go on for long."""
    engine = SimEngine(max_num_seqs=64, max_num_batched_tokens=512, **options)  # type: ignore[arg-type]
    ids = [engine.add(prompt(20, number), max_tokens=3000) for number in range(num_streams)]
    while not all(engine.tokens[request_id] for request_id in ids):
        engine.step()
    return engine


def gaps(engine: SimEngine, *, until: str | None = None, num_steps: int = 100) -> list[float]:
    """Seconds of each step, one token of each stream: so many steps, or until a request's first token."""
    seconds = []
    while (until is None and len(seconds) < num_steps) or (until is not None and not engine.tokens[until]):
        before = engine.clock.now()
        engine.step()
        seconds.append(engine.clock.now() - before)
    return seconds


def alone(num_tokens: int) -> float:
    """Seconds to the first token of a prompt that has the engine to itself."""
    engine = SimEngine(max_num_batched_tokens=512)
    engine.add(prompt(num_tokens, 9))
    return sum(gaps(engine, until="0"))


def first_tokens(
    num_users: int, *, num_prompt_tokens: int = 128, num_output_tokens: int = 64, turns: int = 1
):
    """Each user asks, and as soon as it has its answer again: the seconds to each first token, and of all."""
    engine = SimEngine(max_num_seqs=64, max_num_batched_tokens=512, num_blocks=2000)
    waiting: dict[str, float] = {}
    first: list[float] = []

    def ask() -> None:
        request_id = engine.add(prompt(num_prompt_tokens, len(engine.tokens)), max_tokens=num_output_tokens)
        waiting[request_id] = engine.clock.now()

    began = engine.clock.now()
    for _ in range(num_users):
        ask()
    num_left = num_users * (turns - 1)
    while engine.core.has_work:
        for output in engine.step():
            if output.request_id in waiting:
                first.append(engine.clock.now() - waiting.pop(output.request_id))
            if output.finish_reason is not None and num_left:
                num_left -= 1
                ask()
    return first, engine.clock.now() - began


def in_full_steps(num_prompts: int) -> float:
    """Seconds to compute prompts of 128 tokens in steps of 512, and nothing else."""
    return num_prompts / 4 * default_step_seconds(512, 4 * 128 * 129 // 2, 4)


@pytest.mark.parametrize(
    ("num_users", "earliest", "mean", "latest"), [(8, 0.25, 0.72, 1.4), (64, 0.03, 0.72, 1.55)]
)
def test_of_prompts_that_come_together_the_first_are_answered_early_and_the_last_no_later(
    num_users: int, earliest: float, mean: float, latest: float
) -> None:
    first, _ = first_tokens(num_users)
    seconds = in_full_steps(num_users)
    assert min(first) <= earliest * seconds
    assert sum(first) / len(first) <= mean * seconds
    assert max(first) <= latest * seconds  # those who have begun go on meanwhile


def test_steps_that_end_early_cost_hardly_any_throughput() -> None:
    _, seconds = first_tokens(64, num_output_tokens=1)
    assert seconds <= 1.02 * in_full_steps(64)


def test_who_asks_again_and_again_does_not_wait_for_a_few_who_read() -> None:
    first, _ = first_tokens(8, turns=8)
    assert sum(first) / len(first) <= 1.5 * alone(2 * 128)


def test_a_long_prompt_leaves_those_who_decode_a_third_of_their_pace() -> None:
    engine = decoding()
    undisturbed = max(gaps(engine))
    long = engine.add(prompt(4000, 9))
    disturbed = gaps(engine, until=long)
    assert max(disturbed) <= 3 * undisturbed
    assert sum(disturbed) <= 2.2 * alone(4000)


@pytest.mark.parametrize("target", [0.012, 0.02, 0.08])
def test_an_inter_token_target_is_held_while_prompts_come(target: float) -> None:
    engine = decoding(target_itl_seconds=target)
    long = [engine.add(prompt(1500, number)) for number in range(9, 12)]
    seconds = [gap for request_id in long for gap in gaps(engine, until=request_id)]
    assert max(seconds) <= target
    assert sum(seconds) / len(seconds) >= 0.6 * target  # and the prompts get the rest


def test_an_inter_token_target_is_held_by_letting_fewer_in() -> None:
    engine = SimEngine(max_num_seqs=64, max_num_batched_tokens=512, target_itl_seconds=0.012)
    ids = [engine.add(prompt(20, number), max_tokens=50) for number in range(60)]
    num_running = []
    while engine.core.has_work:
        busy = [i for i in ids if engine.tokens[i] and engine.last[i].finish_reason is None]
        before = engine.clock.now()
        engine.step()
        assert not busy or engine.clock.now() - before <= 0.012
        num_running.append(engine.stats.num_running)
    assert 20 <= max(num_running) < 30
    for request_id in ids:
        engine.check_complete(request_id)


def test_a_target_for_first_tokens_is_held_and_what_it_leaves_is_for_those_who_decode() -> None:
    mean = {}
    for target in (None, 2.0):
        engine = decoding(32, target_ttft_seconds=target)
        long = engine.add(prompt(1000, 99))
        seconds = gaps(engine, until=long)
        mean[target] = sum(seconds) / len(seconds)
        if target is not None:
            assert 0.7 * target <= sum(seconds) <= target
    assert mean[2.0] <= 0.7 * mean[None]


def test_a_target_for_first_tokens_alone_may_take_more_of_a_step() -> None:
    engine = decoding(target_ttft_seconds=3.0)
    assert sum(gaps(engine, until=engine.add(prompt(4000, 9)))) <= 3.0


def test_first_tokens_that_cannot_be_in_time_come_as_fast_as_without_a_target() -> None:
    seconds = []
    for target in (None, 0.1):
        engine = decoding(32, target_ttft_seconds=target)
        seconds.append(sum(gaps(engine, until=engine.add(prompt(1000, 99)))))
    assert seconds[0] == pytest.approx(seconds[1])


def test_many_prompts_are_in_time_together_when_that_can_be_held() -> None:
    engine = decoding(16, target_ttft_seconds=3.0)
    began = engine.clock.now()
    ids = [engine.add(prompt(150, 50 + number)) for number in range(12)]
    for request_id in ids:
        gaps(engine, until=request_id)
    assert engine.clock.now() - began <= 3.0
