"""Who is admitted, who is preempted and who waits, through the whole engine on the sim back end."""

import pytest

from tests.fakes_engine import SimEngine
from tests.fakes_engine import random_prompt as prompt


def test_higher_priority_is_admitted_first_and_arrival_decides_among_equals():
    engine = SimEngine(max_num_seqs=1)
    ids = [
        engine.add(prompt(10, i), request_id=name, priority=p)
        for i, (name, p) in enumerate([("b", 0), ("c", 0), ("z", 3), ("a", -1)])
    ]
    ended = []
    while engine.core.has_work:
        ended += [output.request_id for output in engine.step()]
    assert ended == ["a", "b", "c", "z"]
    assert sorted(ended) == sorted(ids)


def test_no_more_requests_run_than_there_are_slots():
    engine = SimEngine(max_num_seqs=3)
    ids = [engine.add(prompt(5, i), max_tokens=4) for i in range(10)]
    engine.step()
    assert (engine.stats.num_running, engine.stats.num_waiting) == (3, 7)
    engine.run()
    for request_id in ids:
        engine.check_complete(request_id)
    assert (engine.stats.num_running, engine.stats.num_waiting) == (0, 0)


def test_followers_do_not_block_those_behind_them():
    engine = SimEngine(max_num_batched_tokens=64)
    shared = prompt(500)
    engine.add([*shared, 1])
    engine.add([*shared, 2])
    other = engine.add(prompt(20, 9))
    engine.run_until_token(other)
    assert len(engine.backend.steps) == 1
    engine.run()


def test_when_the_leader_is_aborted_its_followers_go_on():
    engine = SimEngine(max_num_batched_tokens=64)
    leader, *followers = [engine.add([*prompt(500), i], max_tokens=3) for i in range(4)]
    engine.step()
    engine.step()
    engine.abort([leader])
    engine.run()
    for request_id in followers:
        engine.check_complete(request_id)
    assert sum(step.num_tokens for step in engine.backend.steps) < 2 * 501
    assert not engine.tokens[leader]


def overcommitted(*, num_checkpoint_blocks, enable_prefix_caching=True):
    """Four requests of 10 blocks in the end, in 24."""
    engine = SimEngine(
        num_blocks=24,
        num_checkpoint_blocks=num_checkpoint_blocks,
        enable_prefix_caching=enable_prefix_caching,
    )
    for i in range(4):
        engine.add(prompt(40, i), max_tokens=120)
    return engine


@pytest.mark.parametrize("enable_prefix_caching", [True, False])
def test_preemption_loses_15_tokens_at_most(enable_prefix_caching):
    engine = overcommitted(num_checkpoint_blocks=24, enable_prefix_caching=enable_prefix_caching)
    engine.run()
    assert engine.stats.num_preemptions > 0
    assert engine.stats.num_recomputed_tokens <= 15 * engine.stats.num_preemptions
    assert sum(len(step.copies) for step in engine.backend.steps) > 0
    for request_id in engine.submitted:
        engine.check_complete(request_id)


def test_past_the_bound_of_the_checkpoint_store_more_is_recomputed_and_counted():
    engine = overcommitted(num_checkpoint_blocks=0)
    engine.run()
    computed = sum(step.num_tokens for step in engine.backend.steps)
    assert engine.stats.num_recomputed_tokens == computed - 4 * (40 + 119)
    assert engine.stats.num_recomputed_tokens > 15 * engine.stats.num_preemptions
    for request_id in engine.submitted:
        engine.check_complete(request_id)


def test_the_newest_of_the_lowest_priority_is_preempted():
    engine = SimEngine(num_blocks=12)
    ids = {}
    for name, priority in (("low old", 1), ("low new", 1), ("high", 0)):
        ids[name] = engine.add(prompt(30, len(ids)), request_id=name, max_tokens=40, priority=priority)
        engine.step()
    engine.run()
    preemptions = {name: engine.last[name].num_preemptions for name in ids}
    assert preemptions["low new"] >= 1
    assert preemptions["high"] == 0
    assert preemptions["low old"] <= preemptions["low new"]


def test_requests_are_not_preempted_again_and_again():
    engine = SimEngine(num_blocks=40, num_checkpoint_blocks=40, max_num_seqs=16)
    for i in range(16):
        engine.add(prompt(60, i), max_tokens=100)
    engine.run()
    assert max(output.num_preemptions for output in engine.last.values()) <= 4


@pytest.mark.parametrize(("num_tokens", "is_admitted"), [(64, True), (65, False)])
def test_a_request_is_admitted_when_it_fits_whole_and_the_running_one_may_grow_by_a_block(
    num_tokens, is_admitted
):
    engine = SimEngine(num_blocks=8)
    engine.add(prompt(45), max_tokens=40)
    engine.step()
    engine.add(prompt(num_tokens, 1))
    engine.step()
    assert engine.stats.num_running == (2 if is_admitted else 1)


@pytest.mark.parametrize("num_steps", [0, 1, 3])
def test_aborted_requests_leave_at_once_wherever_they_are(num_steps):
    engine = SimEngine(num_blocks=30, max_num_seqs=2)
    ids = [engine.add(prompt(100, i % 3), max_tokens=50) for i in range(6)]
    for _ in range(num_steps):
        engine.step()
    engine.abort([*ids, "unknown"])
    assert engine.kv.pool.num_used == 0
    assert not engine.core.has_work
    later = engine.add(prompt(100, 0), max_tokens=5)
    engine.run()
    engine.check_complete(later)


def test_a_preempted_request_can_be_aborted():
    engine = overcommitted(num_checkpoint_blocks=24)
    while not engine.stats.num_preemptions:
        engine.step()
    preempted = [i for i, output in engine.last.items() if i not in engine.journal.steps[-1][1]]
    engine.abort(preempted)
    engine.run()
    assert len(engine.kv.checkpoints) == 0
    for request_id in set(engine.submitted) - set(preempted):
        engine.check_complete(request_id)


def test_a_tenant_with_a_thousand_waiting_requests_does_not_starve_another():
    engine = SimEngine(max_num_seqs=4)
    crowd = [engine.add(prompt(20, i), max_tokens=5, tenant="a") for i in range(1000)]
    engine.step()
    few = [engine.add(prompt(20, 2000 + i), max_tokens=5, tenant="b") for i in range(10)]
    while not all(request_id in engine.last and engine.last[request_id].finish_reason for request_id in few):
        engine.step()
    num_ended = sum(engine.last[i].finish_reason is not None for i in crowd if i in engine.last)
    assert num_ended <= 4 + 10 + 4  # those that ran, one for each of b's, and those that run with b's last
    engine.run()
    for request_id in crowd + few:
        engine.check_complete(request_id)
