"""Choices of one prompt: the prompt is computed once and held once, and each choice gets the tokens it gets
alone."""

import pytest

from octavo.core.block_hash import BLOCK_SIZE
from octavo.core.step import CopyKind
from tests.fakes_engine import SimEngine


def prompt(num_tokens):
    return [i % 900 for i in range(num_tokens)]


def add_choices(engine, count, num_tokens=500, max_tokens=20, **options):
    """Branch 0 and its forks, as the server submits them: at once, with one seed."""
    parent = engine.add(prompt(num_tokens), seed=5, max_tokens=max_tokens, **options)
    forks = [
        engine.add(
            prompt(num_tokens), seed=5, branch=branch, fork_of=parent, max_tokens=max_tokens, **options
        )
        for branch in range(1, count)
    ]
    return [parent, *forks]


def num_computed(engine):
    return sum(step.num_tokens for step in engine.backend.steps)


def copies(engine, kind):
    return [copy for step in engine.backend.steps for copy in step.copies.tolist() if copy[0] == kind]


def check_all(engine, ids):
    engine.run()
    for request_id in ids:
        engine.check_complete(request_id)
    assert len({tuple(engine.tokens[request_id]) for request_id in ids}) == len(ids)
    assert engine.kv.pool.num_used == 0


@pytest.mark.parametrize("enable_prefix_caching", [True, False])
def test_four_choices_of_500_tokens_compute_and_hold_the_prompt_once(enable_prefix_caching):
    engine = SimEngine(enable_prefix_caching=enable_prefix_caching)
    ids = add_choices(engine, 4)
    engine.run_until_token(ids[-1])
    num_full = 500 // BLOCK_SIZE
    assert engine.kv.pool.num_used == num_full + 4
    check_all(engine, ids)
    # The prompt, its last token for each fork, and what each choice computes of its own answer.
    assert num_computed(engine) == 500 + 3 + 4 * 19
    assert len(copies(engine, CopyKind.BLOCK_TO_BLOCK)) == 3
    assert engine.stats.prefix_cache_hits == 0
    assert engine.stats.prefix_cache_queries == (500 if enable_prefix_caching else 0)
    assert [engine.last[request_id].num_cached_tokens for request_id in ids] == [0, 499, 499, 499]


@pytest.mark.parametrize("num_tokens", [1, 2, 15, 16, 17, 32, 33])
def test_any_length_of_prompt(num_tokens):
    engine = SimEngine()
    ids = add_choices(engine, 3, num_tokens)
    check_all(engine, ids)
    num_shared = num_tokens - 1
    assert num_computed(engine) == num_tokens + 2 * (num_tokens - num_shared) + 3 * 19
    assert len(copies(engine, CopyKind.BLOCK_TO_BLOCK)) == (2 if num_shared % BLOCK_SIZE else 0)


def test_a_fork_that_comes_later_shares_a_prompt_whose_parent_has_gone_on():
    engine = SimEngine()
    parent = engine.add(prompt(40), seed=5, max_tokens=100)
    engine.run_until_token(parent, 30)
    before = num_computed(engine)
    fork = engine.add(prompt(40), seed=5, branch=1, fork_of=parent, max_tokens=3)
    engine.run_until_token(fork)
    assert num_computed(engine) - before == 2  # and one of the parent
    check_all(engine, [parent, fork])


@pytest.mark.parametrize("enable_prefix_caching", [True, False])
@pytest.mark.parametrize("how", ["finished", "aborted while computed", "aborted later", "never there"])
def test_without_its_parent_a_fork_is_a_request_like_any_other(how, enable_prefix_caching):
    engine = SimEngine(enable_prefix_caching=enable_prefix_caching)
    parent = engine.add(prompt(200), seed=5, max_tokens=1)
    if how == "finished":
        engine.run()
    fork = engine.add(prompt(200), seed=5, branch=1, fork_of=parent, max_tokens=20)
    if how == "aborted while computed":
        engine.step()
        assert len(engine.scheduler._roster.followers) == 1
        engine.abort([parent])
    elif how == "aborted later":
        engine.run_until_token(parent)
        engine.abort([parent])
    elif how == "never there":
        engine.abort([parent])
    check_all(engine, [fork])
    assert engine.last[fork].num_cached_tokens <= 192


def test_a_fork_that_waits_can_be_aborted():
    engine = SimEngine()
    ids = add_choices(engine, 3)
    engine.step()
    engine.abort([ids[1]])
    check_all(engine, [ids[0], ids[2]])


def test_another_prompt_or_another_salt_is_not_shared():
    engine = SimEngine()
    parent = engine.add(prompt(40), max_tokens=50)
    engine.run_until_token(parent)
    other = engine.add([*prompt(39), 7], fork_of=parent, max_tokens=20)
    tenant = engine.add(prompt(40), fork_of=parent, salt="t", max_tokens=20)
    itself = engine.add(prompt(24), request_id="x", fork_of="x", max_tokens=20)
    check_all(engine, [parent, other, tenant, itself])
    assert not copies(engine, CopyKind.BLOCK_TO_BLOCK)


@pytest.mark.parametrize("enable_prefix_caching", [True, False])
@pytest.mark.parametrize("num_checkpoint_blocks", [64, 0])
def test_forks_and_parents_are_preempted_and_resume(num_checkpoint_blocks, enable_prefix_caching):
    engine = SimEngine(
        num_blocks=14,
        num_checkpoint_blocks=num_checkpoint_blocks,
        enable_prefix_caching=enable_prefix_caching,
    )
    ids = add_choices(engine, 4, 70, 60) + add_choices(engine, 3, 40, 60, priority=-1)
    engine.run()
    assert engine.stats.num_preemptions > 0
    check_all(engine, ids[:4])
    check_all(engine, ids[4:])


def test_after_a_crash_choices_go_on_and_share_the_prompt_again():
    engine = SimEngine()
    ids = add_choices(engine, 3)
    engine.run_until_token(ids[2], 7)
    after = SimEngine()
    for branch, request_id in enumerate(ids):
        after.add(
            prompt(500),
            request_id=request_id,
            output=engine.tokens[request_id],
            seed=5,
            branch=branch,
            fork_of=ids[0] if branch else None,
            max_tokens=20,
        )
    num_resumed = sum(len(engine.tokens[request_id]) for request_id in ids)
    check_all(after, ids)
    assert num_computed(after) == 500 + 3 * 20 - 3  # the last token of each is not computed
    assert num_resumed > 20


def test_a_suspect_fork_runs_alone_and_shares_nothing():
    engine = SimEngine()
    parent = engine.add(prompt(100), seed=5, max_tokens=50)
    engine.run_until_token(parent)
    fork = engine.add(prompt(100), seed=5, branch=1, fork_of=parent, is_suspect=True, max_tokens=20)
    check_all(engine, [parent, fork])
    assert not copies(engine, CopyKind.BLOCK_TO_BLOCK)


def test_a_fork_of_a_poisoned_parent_fails_by_itself_only():
    engine = SimEngine()
    parent = engine.add(prompt(40), seed=5, max_tokens=50)
    engine.run_until_token(parent)
    fork = engine.add(prompt(40), seed=6, branch=1, fork_of=parent, max_tokens=20)
    engine.run_until_token(fork)
    engine.backend.not_finite_seeds.add(5)
    engine.run()
    assert engine.last[parent].error is not None
    engine.check_complete(fork)
    assert engine.kv.pool.num_used == 0
