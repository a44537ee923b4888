"""The reference back end keeps the step contract: chunks, copies, sampled tokens, non-finite rows."""

import dataclasses

import numpy as np

from octavo.backends.reference.backend import ReferenceBackend
from octavo.core.sampling_params import SamplingParams
from octavo.core.step import LAST_SAMPLED, CopyKind, RowStatus, StepInput
from octavo.models.program import Program
from octavo.weights.formats import Tensor
from tests.backends.tiny import LIMITS, NUM_BLOCKS, StepMaker, tiny_model

GREEDY = SamplingParams(temperature=0)
PROMPT = list(range(40, 75))


def logits_after(chunks: list[int], backend: ReferenceBackend | None = None) -> np.ndarray:
    program, tensors = tiny_model()
    backend = backend or ReferenceBackend(program, tensors, LIMITS, NUM_BLOCKS, 2)
    maker = StepMaker({0: PROMPT}, GREEDY)
    for count in chunks:
        backend.collect(backend.submit(maker.step({0: count})))
    return backend.buffers[Program.logits]


def test_chunks_do_not_change_the_logits() -> None:
    whole = logits_after([35])
    for chunks in ([16, 19], [1, 20, 14], [34, 1]):
        np.testing.assert_array_equal(logits_after(chunks), whole)


def test_the_last_sampled_token_can_be_left_to_the_slot() -> None:
    program, tensors = tiny_model()
    results = []
    for is_left in (False, True):
        backend = ReferenceBackend(program, tensors, LIMITS, NUM_BLOCKS)
        maker = StepMaker({0: PROMPT}, GREEDY)
        step = maker.step({0: 35})
        maker.append(step, backend.collect(backend.submit(step)).token)
        step = maker.step({0: 1})
        if is_left:
            step.token_ids[:] = LAST_SAMPLED
        results.append(backend.collect(backend.submit(step)).token)
    np.testing.assert_array_equal(*results)


def test_a_block_survives_the_way_to_the_tier_and_back() -> None:
    program, tensors = tiny_model()
    backend = ReferenceBackend(program, tensors, LIMITS, NUM_BLOCKS, 2)
    maker = StepMaker({0: PROMPT}, GREEDY)
    first = maker.step({0: 34})
    backend.submit(first)
    block = int(first.new_blocks[0, 3])
    other = next(b for b in range(NUM_BLOCKS) if b not in first.new_blocks[:, 3])
    last = maker.step({0: 1})
    backend._blocks[0][other] = 7
    back_and_forth = dataclasses.replace(
        last,
        copies=np.array([(CopyKind.BLOCK_TO_TIER, block, 1), (CopyKind.TIER_TO_BLOCK, 1, other)], np.int32),
    )
    backend.submit(back_and_forth)
    np.testing.assert_array_equal(backend._blocks[0][other], backend._blocks[0][block])


def test_a_row_that_is_not_finite_fails_alone() -> None:
    program, tensors = tiny_model()
    broken = np.zeros((211, 96), np.float32)
    broken[5] = np.inf
    tensors = dict(tensors, embedding=Tensor.of("embedding", broken))
    backend = ReferenceBackend(program, tensors, LIMITS, NUM_BLOCKS)
    step: StepInput = StepMaker({0: [5], 1: [6]}, GREEDY).step({0: 1, 1: 1})
    with np.errstate(invalid="ignore"):
        output = backend.collect(backend.submit(step))
    assert output.status.tolist() == [RowStatus.NOT_FINITE, RowStatus.OK]
