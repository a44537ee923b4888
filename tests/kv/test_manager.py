import pytest

from octavo.core.block_hash import BLOCK_SIZE, root_hash
from octavo.core.request import Request, RequestStatus
from octavo.core.sampling_params import SamplingParams
from octavo.core.step import CopyKind
from octavo.kv.manager import (
    NO_BLOCK,
    UNBOUNDED_TOKENS,
    KVManager,
    first_visible_block,
    max_blocks_held,
    num_blocks_of,
    num_shareable_tokens,
)

ROOT = root_hash(b"model")
A, B = list(range(100)), list(range(500, 600))


def request(token_ids, root=ROOT, request_id="r"):
    return Request(
        request_id, list(token_ids), len(token_ids), SamplingParams(), 0, 0.0, 10_000, cache_root=root
    )


def admitted(kv, token_ids, *, num_computed=None, root=ROOT):
    """A request that was admitted and computed, all of it unless told otherwise."""
    r = request(token_ids, root)
    kv.admit(r)
    r.status = RequestStatus.RUNNING
    compute(kv, r, len(token_ids) if num_computed is None else num_computed)
    return r


def compute(kv, r, num_computed):
    kv.extend(r, num_computed)
    kv.commit(r, num_computed)


def preempt(kv, r):
    kv.preempt(r)
    r.status = RequestStatus.PREEMPTED


def copies(kv, kind):
    return [tuple(row[1:]) for row in kv.take_copies().tolist() if row[0] == kind]


def test_the_17th_token_takes_the_second_block():
    kv = KVManager(10, 0)
    r = admitted(kv, A[:16])
    assert len(r.block_table) == 1
    r.token_ids.append(7)
    compute(kv, r, 17)
    assert len(r.block_table) == 2


def test_2000_tokens_take_125_blocks():
    kv = KVManager(200, 0)
    assert len(admitted(kv, range(2000)).block_table) == 125
    assert kv.pool.num_used == 125


def test_a_sequence_wastes_8_slots_on_average_at_most():
    wastes = [num_blocks_of(n) * BLOCK_SIZE - n for n in range(1, 2001)]
    assert sum(wastes) / len(wastes) <= 8
    assert max(wastes) < BLOCK_SIZE


def test_a_computed_prefix_is_found_while_in_use_and_after():
    kv = KVManager(20, 0)
    first = admitted(kv, A[:40])
    second = request(A[:32] + B[:8])
    assert kv.match(second).num_hit_blocks == 2
    assert kv.match(second).num_free_blocks_needed == 1
    kv.free(first)
    assert kv.match(second).num_hit_blocks == 2
    assert kv.match(second).num_free_blocks_needed == 3
    kv.admit(second)
    assert second.num_computed_tokens == 32
    assert (kv.pool.num_used, kv.pool.num_cached) == (2, 0)


def test_only_full_computed_blocks_are_found():
    kv = KVManager(20, 0)
    admitted(kv, A[:64], num_computed=40)
    assert kv.match(request(A[:64])).num_hit_blocks == 2


def test_at_least_one_token_stays_to_be_computed():
    kv = KVManager(20, 0)
    kv.free(admitted(kv, A[:48]))
    r = admitted(kv, A[:48], num_computed=48)
    assert kv.match(request(A[:48])).num_hit_blocks == 2
    assert kv.match(request(A[:49])).num_hit_blocks == 3
    assert r.block_table[:2] != r.block_table[1:]


def test_what_is_computed_twice_is_cached_once():
    kv = KVManager(20, 0)
    first, second = request(A[:33]), request(A[:33])
    kv.admit(first)
    kv.admit(second)
    compute(kv, first, 33)
    compute(kv, second, 33)
    kv.free(second)
    kv.free(first)
    assert (kv.pool.num_free, kv.pool.num_cached) == (20, 2)


def test_another_salt_finds_nothing():
    kv = KVManager(20, 0)
    admitted(kv, A[:40])
    assert kv.match(request(A[:40], root_hash(b"model", salt="tenant"))).num_hit_blocks == 0


def test_outside_the_prefix_cache_nothing_is_cached():
    kv = KVManager(20, 0)
    kv.free(admitted(kv, A[:40], root=None))
    assert kv.pool.num_cached == 0


def test_without_prefix_caching_a_request_that_ended_leaves_nothing():
    kv = KVManager(20, 0, enable_prefix_caching=False)
    kv.free(admitted(kv, A[:40]))
    assert (kv.pool.num_cached, len(kv.prefix_cache)) == (0, 0)


def test_no_block_of_a_poisoned_request_is_found_again():
    kv = KVManager(20, 0)
    other = admitted(kv, A[:40])
    poisoned = admitted(kv, A[:64])
    kv.free(poisoned, is_poisoned=True)
    kv.free(other)
    assert kv.match(request(A[:64])).num_hit_blocks == 0
    assert (kv.pool.num_free, kv.pool.num_cached) == (20, 0)


def test_the_deepest_block_of_the_least_recent_sequence_is_evicted_first():
    kv = KVManager(6, 0)
    first, second = admitted(kv, A[:48]), admitted(kv, B[:48])
    kv.free(first)
    kv.free(second)
    admitted(kv, range(900, 916))
    assert kv.match(request(A[:49])).num_hit_blocks == 2
    assert kv.match(request(B[:49])).num_hit_blocks == 3


@pytest.mark.parametrize("num_computed", [1, 15, 16, 17, 31, 32, 47, 48, 63])
def test_resuming_recomputes_15_tokens_at_most(num_computed):
    """A decoding request has computed all of its tokens but the last."""
    kv = KVManager(20, 0)
    r = admitted(kv, A[: num_computed + 1], num_computed=num_computed)
    preempt(kv, r)
    assert kv.pool.num_used == 0
    kv.admit(r)
    assert num_computed - r.num_computed_tokens == num_computed % BLOCK_SIZE


def test_evicted_blocks_of_a_preempted_request_come_back_from_the_checkpoint_store():
    kv = KVManager(4, 4)
    r = admitted(kv, A[:64], num_computed=63)
    blocks = list(r.block_table)
    preempt(kv, r)
    other = admitted(kv, B[:64])
    saved = copies(kv, CopyKind.BLOCK_TO_TIER)
    assert [block for block, _ in saved] == [blocks[2], blocks[1], blocks[0]]
    kv.free(other)
    assert kv.match(r).num_hit_blocks == 3
    assert kv.match(r).num_free_blocks_needed == 4
    kv.admit(r)
    restored = copies(kv, CopyKind.TIER_TO_BLOCK)
    slots = [slot for _, slot in reversed(saved)]
    assert restored == list(zip(slots, r.block_table, strict=True))
    assert r.num_computed_tokens == 48
    assert len(kv.checkpoints) == 0


def test_a_request_can_go_to_the_checkpoint_store_and_back_any_number_of_times():
    kv = KVManager(4, 4)
    r = admitted(kv, A[:64], num_computed=63)
    for _ in range(5):
        preempt(kv, r)
        kv.free(admitted(kv, B[:64]))
        kv.admit(r)
        r.status = RequestStatus.RUNNING
        kv.take_copies()
        assert r.num_computed_tokens == 48
        compute(kv, r, 63)


def test_what_a_resumed_request_leaves_is_not_saved_any_more():
    kv = KVManager(4, 4)
    r = admitted(kv, A[:64], num_computed=63)
    preempt(kv, r)
    kv.admit(r)
    r.status = RequestStatus.RUNNING
    kv.free(r)
    admitted(kv, B[:64])
    assert len(kv.checkpoints) == 0


def test_beyond_the_bound_of_the_checkpoint_store_the_deepest_blocks_are_lost():
    kv = KVManager(4, 2)
    r = admitted(kv, A[:64], num_computed=63)
    preempt(kv, r)
    kv.free(admitted(kv, B[:64]))
    assert kv.match(r).num_hit_blocks == 2


def test_blocks_nobody_will_want_back_are_not_saved():
    kv = KVManager(4, 4)
    kv.free(admitted(kv, A[:64]))
    admitted(kv, B[:64])
    assert copies(kv, CopyKind.BLOCK_TO_TIER) == []


def test_the_checkpoints_of_a_request_that_ends_while_preempted_are_dropped():
    kv = KVManager(4, 4)
    r = admitted(kv, A[:64], num_computed=63)
    preempt(kv, r)
    admitted(kv, B[:64])
    assert len(kv.checkpoints) == 3
    kv.free(r)
    assert len(kv.checkpoints) == 0


def test_a_checkpoint_stays_while_another_preempted_request_wants_it():
    kv = KVManager(5, 8)
    first, second = admitted(kv, A[:33]), admitted(kv, A[:32] + B[:1])
    preempt(kv, first)
    preempt(kv, second)
    admitted(kv, range(900, 980))
    assert len(kv.checkpoints) == 2
    kv.free(first)
    assert kv.match(second).num_hit_blocks == 2


def test_usage_is_the_share_of_blocks_in_use():
    kv = KVManager(8, 0)
    r = admitted(kv, A[:32])
    assert kv.usage == 0.25
    kv.free(r)
    assert kv.usage == 0
    assert kv.num_tokens == 128


def running_parent(kv, token_ids=A[:40]):
    parent = admitted(kv, token_ids)
    parent.slot = 0
    return parent


def test_a_fork_shares_full_blocks_and_copies_the_partial_one():
    kv = KVManager(20, 0)
    parent, fork = running_parent(kv), request(A[:40])
    assert kv.match(fork, parent).num_free_blocks_needed == 1
    kv.admit(fork, parent)
    assert fork.num_computed_tokens == 39
    assert fork.block_table[:2] == parent.block_table[:2]
    assert fork.block_table[2] != parent.block_table[2]
    assert copies(kv, CopyKind.BLOCK_TO_BLOCK) == [(parent.block_table[2], fork.block_table[2])]
    assert kv.pool.num_used == 4


def test_a_fork_that_finds_more_in_the_cache_takes_that():
    kv = KVManager(20, 0)
    parent, fork = running_parent(kv), request(A[:40])
    fork.token_ids += B[:30]
    earlier = admitted(kv, fork.token_ids)
    kv.free(earlier)
    kv.admit(fork, parent)
    assert fork.num_computed_tokens == 64
    assert not copies(kv, CopyKind.BLOCK_TO_BLOCK)


@pytest.mark.parametrize(
    "fork",
    [
        request(A[:41]),
        request(A[:39] + B[:1]),
        request([*B[:1], *A[1:40]]),
        request(A[:40], root_hash(b"other")),
        request(A[:40], None),
    ],
)
def test_another_prompt_is_not_shared(fork):
    kv = KVManager(20, 0)
    assert num_shareable_tokens(fork, running_parent(kv)) == 0


def test_without_prefix_caching_a_block_leaves_with_the_last_choice_that_has_or_wants_it():
    kv = KVManager(20, 0, enable_prefix_caching=False)
    parent, fork, third = running_parent(kv), request(A[:40]), request(A[:40])
    kv.admit(fork, parent)
    kv.admit(third, parent)
    for r in (fork, third):
        r.status = RequestStatus.RUNNING
        compute(kv, r, 40)
    preempt(kv, third)
    kv.free(parent)
    kv.free(fork)
    assert kv.match(request(A[:40])).num_hit_blocks == 2
    kv.admit(third)
    assert third.num_computed_tokens == 32
    third.status = RequestStatus.RUNNING
    kv.free(third)
    assert len(kv.prefix_cache) == 0


def windowed(num_blocks=60, windows=(None, 20), max_chunk=32, **options):
    return KVManager(num_blocks, 8, windows=windows, max_num_batched_tokens=max_chunk, **options)


def chunked(kv, token_ids, chunk=32):
    """A request computed in chunks of 32; returns it and how many blocks it held at most."""
    r = request(token_ids)
    kv.admit(r)
    r.status = RequestStatus.RUNNING
    most = 0
    while r.num_computed_tokens < len(token_ids):
        assert kv.num_missing_blocks(r) <= kv.num_free_blocks
        compute(kv, r, min(r.num_computed_tokens + chunk, len(token_ids)))
        most = max(most, kv.pool.num_used)
    return r, most


@pytest.mark.parametrize("chunk", [1, 7, 32])
@pytest.mark.parametrize(
    ("windows", "num_tokens"), [((None, 20), 100), ((1, 16, 33), 100), ((None, 500), 90)]
)
def test_a_sequence_holds_what_its_windows_see_and_never_more_than_planned(windows, num_tokens, chunk):
    kv = windowed(windows=windows, max_chunk=chunk)
    planned = max_blocks_held(windows, num_tokens, chunk)
    r, most = chunked(kv, A[:num_tokens], chunk)
    assert most <= planned
    assert kv.num_missing_blocks(r) == 0
    r.token_ids.append(7)
    kv.extend(r, num_tokens + 1)
    for group, window in enumerate(windows):
        held = [i for i, block in enumerate(r.block_table[group :: len(windows)]) if block != NO_BLOCK]
        first_seen = 0 if window is None else max(0, num_tokens - window + 1) // 16
        assert held[0] >= first_seen - -(-chunk // 16)  # given back when the next block is taken
        assert held == list(range(held[0], num_tokens // 16 + 1))


def test_a_window_sees_its_first_token_until_the_one_after_the_last_that_does():
    assert [first_visible_block(20, position) for position in (0, 19, 34, 35, 51)] == [0, 0, 0, 1, 2]
    assert first_visible_block(None, 10_000) == 0


def test_a_hit_needs_of_a_window_only_what_the_next_token_sees():
    kv = windowed()
    first, _ = chunked(kv, A[:96])
    second = request(A[:96])
    kv.admit(second)
    assert second.num_computed_tokens == 80
    assert second.block_table[1::2] == [NO_BLOCK] * 3 + first.block_table[7:10:2]
    assert NO_BLOCK not in second.block_table[::2]
    assert second.num_freed_blocks == [0, 3]


def test_a_hole_in_a_window_shortens_the_hit_to_where_the_window_is_whole():
    kv = windowed(num_blocks=20)
    r, _ = chunked(kv, A[:96])
    table = list(r.block_table)
    kv.free(r)
    kv.prefix_cache.remove(table[2 * 4 + 1])  # the window's block of tokens 64 to 79
    assert kv.match(request(A[:96])).num_hit_blocks == 4
    kv.prefix_cache.remove(table[2 * 0])  # the full group's first block
    assert kv.match(request(A[:96])).num_hit_blocks == 0


def test_groups_do_not_find_each_others_blocks():
    kv = windowed(windows=(None, None))
    r = admitted(kv, A[:32])
    assert len(kv.prefix_cache) == 4
    for index, block_hash in enumerate(r.block_hashes):
        assert kv.prefix_cache.find(block_hash) == r.block_table[2 * index]


@pytest.mark.parametrize("enable_prefix_caching", [True, False])
def test_a_preempted_request_gets_its_window_back(enable_prefix_caching):
    kv = windowed(num_blocks=22, enable_prefix_caching=enable_prefix_caching)
    r, _ = chunked(kv, A[:90])
    preempt(kv, r)
    other = admitted(kv, B[:100], root=root_hash(b"other"))  # takes what r had
    kv.take_copies()
    kv.free(other)
    kv.admit(r)
    assert r.num_computed_tokens >= 64
    assert kv.match(r).num_free_blocks_needed <= kv.num_free_blocks
    r.status = RequestStatus.RUNNING
    kv.free(r)
    assert (kv.pool.num_used, len(kv.checkpoints)) == (0, 0)


def test_a_fork_does_not_share_what_a_window_has_left():
    kv = windowed()
    parent, _ = chunked(kv, A[:40])
    early, late = request(A[:40]), request(A[:40])
    kv.admit(early, parent)
    assert early.num_computed_tokens == 39
    assert len(copies(kv, CopyKind.BLOCK_TO_BLOCK)) == 2
    parent.token_ids += B[:60]
    for end in range(41, 100):
        compute(kv, parent, end)
    kv.admit(late, parent)
    assert late.num_computed_tokens == 32
    assert not copies(kv, CopyKind.BLOCK_TO_BLOCK)


def test_the_longest_sequence_and_the_capacity_count_every_group():
    assert (KVManager(40, 0).num_tokens, KVManager(40, 0).capacity_in_tokens(160)) == (640, 640)
    kv = windowed(num_blocks=40)
    window_blocks = max_blocks_held((20,), 10_000, 32)
    assert kv.num_tokens == (40 - window_blocks) * 16
    assert kv.capacity_in_tokens(1600) == 40 * 1600 // (100 + window_blocks)
    assert windowed(num_blocks=40, windows=(20, 40)).num_tokens == UNBOUNDED_TOKENS
    assert windowed(num_blocks=3, windows=(20, 40)).num_tokens == 16
