"""The scheduler above the sim back end, which checks every block that is read."""

import pytest

from octavo.core.request import FinishReason
from octavo.core.sampling_params import SamplingParams
from tests.fakes_engine import SimEngine
from tests.fakes_engine import random_prompt as prompt


def step_sizes(engine, request_id):
    """How many tokens of a request each recorded step computed, for a request that kept one slot."""
    sizes = []
    for step, (_, ids, _) in zip(engine.backend.steps, engine.journal.steps, strict=True):
        counts = (step.query_start[1:] - step.query_start[:-1]).tolist()
        sizes.append(dict(zip(ids, counts, strict=True)).get(request_id, 0))
    return sizes


def test_a_prompt_is_computed_in_chunks_then_one_token_a_step():
    engine = SimEngine(max_num_batched_tokens=64)
    request_id = engine.add(prompt(150), max_tokens=4)
    engine.run()
    engine.check_complete(request_id)
    assert step_sizes(engine, request_id) == [64, 64, 22, 1, 1, 1]


def test_running_and_waiting_requests_share_steps():
    engine = SimEngine(max_num_batched_tokens=64, target_itl_seconds=0.1)
    first = engine.add(prompt(20, 1), max_tokens=10)
    engine.step()
    second = engine.add(prompt(100, 2), max_tokens=2)
    engine.step()
    assert step_sizes(engine, first) == [20, 1]
    assert step_sizes(engine, second) == [0, 48]
    engine.run()
    engine.check_complete(first)
    engine.check_complete(second)


def test_a_short_prompt_overtakes_a_long_one_and_neither_starves():
    engine = SimEngine(max_num_batched_tokens=64)
    long = engine.add(prompt(1000, 1))
    engine.step()
    short = engine.add(prompt(30, 2))
    engine.run_until_token(short)
    assert len(engine.backend.steps) <= 3
    while not engine.tokens[long]:
        engine.add(prompt(60, len(engine.submitted)))
        engine.step()
    assert len(engine.backend.steps) <= 2 * 1000 / 64 + 3


def test_while_others_decode_prompt_chunks_keep_the_step_time():
    engine = SimEngine(max_num_batched_tokens=512, target_itl_seconds=0.05)
    engine.add(prompt(10, 1), max_tokens=200)
    engine.step()
    long = engine.add(prompt(2000, 2))
    durations = []
    while not engine.tokens[long]:
        before = engine.clock.now()
        engine.step()
        durations.append(engine.clock.now() - before)
    assert max(durations) <= 0.055
    assert len(durations) <= 2000 / 75


def test_a_second_request_with_the_same_prefix_finds_it():
    engine = SimEngine()
    engine.add(prompt(100))
    engine.run()
    second = engine.add([*prompt(100), 1, 2, 3])
    engine.run()
    assert engine.last[second].num_cached_tokens == 96
    assert engine.stats.prefix_cache_queries == 203
    assert engine.stats.prefix_cache_hits == 96


def test_a_next_turn_finds_the_answer_too():
    engine = SimEngine()
    first = engine.add(prompt(50), max_tokens=31)
    engine.run()
    second = engine.add(prompt(50) + engine.tokens[first] + [5] * 10)
    engine.run()
    assert engine.last[second].num_cached_tokens == 80


@pytest.mark.parametrize("arrive_together", [True, False])
def test_ten_requests_that_share_500_tokens_hold_them_once(arrive_together):
    engine = SimEngine(num_blocks=200)
    shared = prompt(500)
    ids = [engine.add(shared + prompt(20, 1), max_tokens=40)]
    if not arrive_together:
        engine.run_until_token(ids[0])
    ids += [engine.add(shared + prompt(20, 2 + i), max_tokens=40) for i in range(9)]
    while engine.stats.num_running < 10:
        engine.step()
    num_own_blocks = 4  # 20 + 4 of prompt, up to 40 of answer
    assert engine.kv.pool.num_used <= 500 // 16 + 10 * num_own_blocks
    engine.run()
    computed = sum(step.num_tokens for step in engine.backend.steps)
    assert computed == 10 * 39 + 520 + 9 * (520 - 496)
    for request_id in ids:
        engine.check_complete(request_id)


def test_a_prompt_that_can_never_fit_is_refused():
    engine = SimEngine(num_blocks=4)
    fits = engine.add(prompt(63))
    too_long = engine.add(prompt(64))
    engine.run()
    engine.check_complete(fits)
    assert engine.last[too_long].finish_reason is FinishReason.ERROR
    assert "64 tokens" in engine.last[too_long].error


def test_a_request_that_fills_the_cache_alone_ends_by_length():
    engine = SimEngine(num_blocks=4)
    request_id = engine.add(prompt(10), max_tokens=100)
    engine.run()
    assert engine.last[request_id].finish_reason is FinishReason.LENGTH
    assert engine.tokens[request_id] == engine.expected_tokens(request_id, 64 + 1 - 10)


def test_a_stop_token_ends_the_answer_and_is_part_of_it():
    engine = SimEngine()
    request_id = engine.add(prompt(10), max_tokens=50)
    stop = engine.expected_tokens(request_id, 5)[4]
    engine.abort([request_id])
    again = engine.add(prompt(10), seed=0, sampling=SamplingParams(max_tokens=50, stop_token_ids=(stop,)))
    engine.run()
    assert engine.last[again].finish_reason is FinishReason.STOP
    assert engine.tokens[again] == engine.expected_tokens(again, 5)


def test_until_min_tokens_a_stop_token_is_suppressed():
    engine = SimEngine()
    expected = engine.add(prompt(10), seed=7, max_tokens=20)
    engine.run()
    stop = engine.tokens[expected][2]
    sampling = SamplingParams(max_tokens=20, min_tokens=10, stop_token_ids=(stop,))
    request_id = engine.add(prompt(10), seed=7, sampling=sampling)
    engine.run()
    assert len(engine.tokens[request_id]) == 20
    assert engine.tokens[request_id][2] == (stop + 1) % 1000


def test_a_row_that_is_not_finite_fails_its_request_alone_and_its_blocks_are_not_cached():
    engine = SimEngine(max_num_batched_tokens=64)
    engine.backend.not_finite_seeds.add(99)
    bad = engine.add(prompt(200, 1), seed=99, max_tokens=5)
    good = engine.add(prompt(200, 2), max_tokens=5)
    engine.run()
    assert engine.last[bad].finish_reason is FinishReason.ERROR
    assert "finite" in engine.last[bad].error
    assert engine.tokens[bad] == []
    engine.check_complete(good)
    again = engine.add(prompt(200, 1))
    engine.run()
    assert engine.last[again].num_cached_tokens == 0


def test_a_probe_is_neither_cached_nor_counted():
    engine = SimEngine()
    probe = engine.add(prompt(100), is_probe=True, max_tokens=3)
    engine.step()
    engine.step()
    assert engine.stats.num_running == 0
    engine.run()
    engine.check_complete(probe)
    assert engine.kv.pool.num_cached == 0
    stats = engine.stats
    assert (stats.num_prompt_tokens, stats.num_generation_tokens, stats.prefix_cache_queries) == (0, 0, 0)


def test_counts_of_tokens_and_steps():
    engine = SimEngine()
    engine.add(prompt(100, 1), max_tokens=5)
    engine.add(prompt(30, 2), max_tokens=7)
    engine.run()
    assert engine.stats.num_prompt_tokens == 130
    assert engine.stats.num_generation_tokens == 12
    assert engine.stats.num_steps == len(engine.backend.steps)


def test_tenants_with_other_salts_share_nothing():
    engine = SimEngine()
    engine.add(prompt(100), salt="a")
    engine.run()
    other, same = engine.add(prompt(100), salt="b"), engine.add(prompt(100), salt="a")
    engine.run()
    assert engine.last[other].num_cached_tokens == 0
    assert engine.last[same].num_cached_tokens == 96


def test_the_step_time_model_learns_from_the_steps():
    engine = SimEngine()
    for i in range(20):
        engine.add(prompt(50 + i, i), max_tokens=10)
    engine.run()
    assert engine.scheduler.step_time.predict(64, 2000, 3) == pytest.approx(2e-3 + 64 * 4e-4, rel=0.05)
