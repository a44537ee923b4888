"""The sim back end notices each way of breaking the contract, or the tests that rely on it show nothing."""

import dataclasses

import numpy as np
import pytest

from octavo.backends.sim.backend import SimBackend, SimContractError, sequence_digests, sim_token
from octavo.backends.sim.clock import VirtualClock
from octavo.core.sampling_params import SamplingParams
from octavo.core.step import LAST_SAMPLED, NO_LOGPROBS, NO_MASK, Admission, CopyKind, StepInput

SAVE, RESTORE = CopyKind.BLOCK_TO_TIER, CopyKind.TIER_TO_BLOCK
TOKENS = list(range(100, 148))


def backend(**options):
    clock = VirtualClock()
    return SimBackend(
        num_blocks=8, num_checkpoint_blocks=4, max_num_seqs=4, sleep=clock.sleep, **options
    ), clock


def admission(slot, token_ids=TOKENS, *, seed=1, branch=0, prompt_length=None, min_tokens=0, suppressed=()):
    return Admission(
        slot,
        np.array(token_ids, np.int32),
        prompt_length or len(token_ids),
        SamplingParams(min_tokens=min_tokens),
        seed,
        branch,
        suppressed,
    )


def step(step_id, rows=(), *, admitted=(), released=(), copies=(), blocks=(), outputs=()):
    """rows: (slot, num_computed, token ids); blocks: (slot, index, block); outputs: slots."""
    token_ids = [token for _, _, tokens in rows for token in tokens]
    ends = np.cumsum([len(tokens) for _, _, tokens in rows]).tolist()
    slots = [slot for slot, _, _ in rows]
    int32 = np.int32
    return StepInput(
        step_id=step_id,
        epoch=0,
        admitted=tuple(admitted),
        released=np.array(released, int32),
        copies=np.array(copies, int32).reshape(-1, 3),
        new_blocks=np.array([(slot, 0, i, block) for slot, i, block in blocks], int32).reshape(-1, 4),
        slot=np.array(slots, int32),
        query_start=np.array([0, *ends], int32),
        num_computed=np.array([num_computed for _, num_computed, _ in rows], int32),
        token_ids=np.array(token_ids, int32),
        output_row=np.array([ends[slots.index(slot)] - 1 for slot in outputs], int32),
        output_slot=np.array(outputs, int32),
        output_kind=np.zeros(len(outputs), int32),
        target=np.full(len(outputs), -1, int32),
        num_logprobs=np.full(len(outputs), NO_LOGPROBS, int32),
        mask_row=np.full(len(outputs), NO_MASK, int32),
    )


def run(sim, *args, **kwargs):
    return sim.collect(sim.submit(step(*args, **kwargs)))


def table(*blocks):
    """For slot 1."""
    return [(1, index, block) for index, block in enumerate(blocks)]


def with_32_computed(**options):
    """Slot 0 has TOKENS, of which 32 are in blocks 0 and 1."""
    sim, _ = backend(**options)
    run(sim, 0, [(0, 0, TOKENS[:32])], admitted=[admission(0)], blocks=[(0, 0, 0), (0, 1, 1)])
    return sim


def test_tokens_are_a_function_of_seed_branch_and_position():
    tokens = {sim_token(s, b, p, 32_000) for s in range(4) for b in range(4) for p in range(100)}
    assert len(tokens) > 1500
    assert all(0 <= token < 32_000 for token in tokens)
    assert sim_token(-5, 0, 3, 10) == sim_token(-5, 0, 3, 10)


def test_a_suppressed_token_gives_way_to_the_next():
    token = sim_token(1, 0, 5, 10)
    assert sim_token(1, 0, 5, 10, (token,)) == (token + 1) % 10


def test_it_samples_and_reads_back_what_it_sampled():
    sim = with_32_computed()
    output = run(sim, 1, [(0, 32, TOKENS[32:])], blocks=[(0, 2, 5)], outputs=[0])
    first = sim_token(1, 0, 48, 32_000)
    assert output.token.tolist() == [first]
    output = run(sim, 2, [(0, 48, [LAST_SAMPLED])], blocks=[(0, 3, 6)], outputs=[0])
    second = sim_token(1, 0, 49, 32_000)
    assert output.token.tolist() == [second]
    assert run(sim, 3, [(0, 49, [second])], outputs=[0]).status.tolist() == [0]


def test_a_digest_depends_on_every_token_before_it():
    digests = sequence_digests(TOKENS)
    for i in range(len(TOKENS)):
        changed = list(TOKENS)
        changed[i] += 1
        assert np.array_equal(sequence_digests(changed) == digests, np.arange(len(TOKENS)) < i)


def test_min_tokens_is_heeded():
    token = sim_token(1, 0, 4, 32_000)
    sim, _ = backend()
    a = admission(0, [1, 2, 3, 4], min_tokens=1, suppressed=(token,))
    output = run(sim, 0, [(0, 0, [1, 2, 3, 4])], admitted=[a], blocks=[(0, 0, 0)], outputs=[0])
    assert output.token.tolist() == [token + 1]


def test_time_passes_as_the_formula_says():
    clock = VirtualClock(5.0)
    sim = SimBackend(
        num_blocks=8,
        max_num_seqs=4,
        sleep=clock.sleep,
        step_seconds=lambda tokens, context, requests: tokens + 1000 * context + 1e6 * requests,
    )
    output = run(sim, 0, [(0, 0, TOKENS[:3])], admitted=[admission(0)], blocks=[(0, 0, 0)])
    assert output.seconds == 3 + 6000 + 1e6
    assert clock.now() == 5 + output.seconds


def test_a_shared_prefix_can_be_read_by_another_slot():
    sim = with_32_computed()
    other = [*TOKENS[:32], 1, 2]
    run(sim, 1, [(1, 32, [1, 2])], admitted=[admission(1, other)], blocks=[(1, 0, 0), (1, 1, 1), (1, 2, 2)])


def test_a_block_survives_by_way_of_the_tier():
    sim = with_32_computed()
    run(
        sim,
        1,
        [(1, 0, [3] * 32)],
        released=[0],
        admitted=[admission(1, [3] * 40)],
        copies=[(SAVE, 0, 2), (SAVE, 1, 3)],
        blocks=[(1, 0, 0), (1, 1, 1)],
    )
    run(
        sim,
        2,
        [(0, 32, TOKENS[32:])],
        admitted=[admission(0)],
        copies=[(RESTORE, 2, 5), (RESTORE, 3, 6)],
        blocks=[(0, 0, 5), (0, 1, 6), (0, 2, 7)],
    )


def test_a_partial_block_is_copied_for_a_fork():
    sim = with_32_computed()
    fork = [*TOKENS[:24], 1, 2]
    run(
        sim,
        1,
        [(1, 24, [1, 2])],
        admitted=[admission(1, fork)],
        copies=[(CopyKind.BLOCK_TO_BLOCK, 1, 5)],
        blocks=[(1, 0, 0), (1, 1, 5)],
    )


@pytest.mark.parametrize(
    ("message", "broken"),
    [
        ("step 0 follows", {"step_id": 0}),
        ("not admitted", {"rows": [(3, 0, [1])]}),
        ("not admitted", {"released": [2]}),
        ("admitted while in use", {"admitted": [admission(0)]}),
        ("slot 4 of 4", {"admitted": [admission(4)]}),
        ("outside the vocabulary", {"admitted": [admission(1, [32_000])]}),
        ("computes nothing", {"rows": [(0, 32, [])]}),
        (
            "twice in a step",
            {"rows": [(0, 32, TOKENS[32:33]), (0, 33, TOKENS[33:34])], "blocks": [(0, 2, 2)]},
        ),
        ("beyond its block table", {"rows": [(0, 32, TOKENS[32:33])]}),
        ("other tokens", {"rows": [(0, 32, [7])], "blocks": [(0, 2, 2)]}),
        ("other tokens", {"rows": [(0, 32, [LAST_SAMPLED])], "blocks": [(0, 2, 2)]}),
        ("tokens it does not have", {"rows": [(0, 32, [*TOKENS[32:], 9])], "blocks": [(0, 2, 2), (0, 3, 3)]}),
        ("not of its own", {"rows": [(0, 33, TOKENS[33:34])], "blocks": [(0, 2, 2)]}),
        ("2 blocks and takes one at index 3", {"rows": [(0, 32, TOKENS[32:33])], "blocks": [(0, 3, 2)]}),
        ("taken while in use", {"rows": [(0, 32, TOKENS[32:33])], "blocks": [(0, 2, 1)]}),
        ("not part of", {"blocks": [(0, 2, 2)]}),
        ("not full", {"copies": [(SAVE, 4, 0)]}),
        ("not full", {"copies": [(RESTORE, 0, 4)]}),
        ("one destination", {"copies": [(SAVE, 0, 0), (SAVE, 1, 0)]}),
        ("overwritten while in use", {"copies": [(SAVE, 0, 0), (RESTORE, 0, 1)]}),
        ("overwritten while in use", {"copies": [(CopyKind.BLOCK_TO_BLOCK, 0, 1)]}),
        ("last token's", {"rows": [(0, 32, TOKENS[32:40])], "blocks": [(0, 2, 2)], "outputs": [0]}),
        (
            "not of its own",
            {
                "rows": [(1, 32, [1])],
                "admitted": [admission(1, [*TOKENS[:31], 0, 1])],
                "blocks": table(0, 1, 2),
            },
        ),
        (
            "not of its own",
            {"rows": [(1, 32, [1])], "admitted": [admission(1, [*TOKENS[:32], 1])], "blocks": table(1, 0, 2)},
        ),
        (
            "others use too",
            {"rows": [(1, 31, TOKENS[31:33])], "admitted": [admission(1)], "blocks": table(0, 1, 2)},
        ),
    ],
)
def test_it_notices(message, broken):
    sim = with_32_computed()
    with pytest.raises(SimContractError, match=message):
        sim.submit(step(**{"step_id": 1, **broken}))


def test_one_step_is_in_flight():
    sim = with_32_computed()
    ticket = sim.submit(step(1))
    with pytest.raises(SimContractError, match="in flight already"):
        sim.submit(step(2))
    with pytest.raises(SimContractError, match="step 9 is not in flight"):
        sim.collect(dataclasses.replace(ticket, step_id=9))
    sim.collect(ticket)
    with pytest.raises(SimContractError, match="no step is in flight"):
        sim.collect(ticket)


def test_a_zeroed_block_is_noticed():
    sim = with_32_computed()
    run(sim, 1, [(1, 0, [3])], released=[0], admitted=[admission(1, [3, 4])], blocks=[(1, 0, 0)])
    reader = admission(2, [*TOKENS[:16], 1])
    with pytest.raises(SimContractError, match="not of its own"):
        sim.submit(step(2, [(2, 16, [1])], admitted=[reader], blocks=[(2, 0, 0), (2, 1, 2)]))
