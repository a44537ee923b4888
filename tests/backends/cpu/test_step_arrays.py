"""Penalties, bias, masks, logprobs, scores and hidden states: the native executor equals the reference."""

import dataclasses

import numpy as np
import pytest

from octavo.backends.cpu.backend import CpuBackend
from octavo.backends.cpu.library import load_library
from octavo.backends.reference.backend import ReferenceBackend
from octavo.core.sampling_params import SamplingParams
from octavo.core.step import NO_LOGPROBS, NO_MASK, OutputKind, RowStatus, StepInput, StepOutput
from octavo.models.program import Program
from octavo.weights.formats import Tensor, expand_to_f32
from tests.backends.tiny import LIMITS, NUM_BLOCKS, TINY, StepMaker, mixed_prompts, mixed_steps, tiny_model

ISAS = [isa for isa in ("portable", "avx2", "avx512", "amx") if load_library().octavo_has_isa(isa.encode())]
VOCAB = TINY.vocab_size
SAMPLINGS = {
    "penalties": SamplingParams(repetition_penalty=1.7, presence_penalty=0.5, frequency_penalty=-0.3),
    "greedy with penalties": SamplingParams(temperature=0, repetition_penalty=0.6, frequency_penalty=1.9),
    "bias": SamplingParams(top_k=9, logit_bias=((3, 4.5), (7, -100), (9, 3.25), (200, 5))),
    "allowed": SamplingParams(allowed_token_ids=(1, 5, 31, 32, 210), top_p=0.8),
    "bad words": SamplingParams(temperature=0, bad_words_token_ids=((2,), (5, 6), tuple(range(100, 132)))),
    "all": SamplingParams(
        temperature=0.8, top_k=40, top_p=0.9, min_p=0.01, repetition_penalty=1.2, presence_penalty=-1,
        logit_bias=((0, 2.5),), allowed_token_ids=tuple(range(0, 211, 2)), bad_words_token_ids=((4,), (8, 6)),
        min_tokens=2,
    ),
}  # fmt: skip


def with_outputs(step: StepInput, **changes: object) -> StepInput:
    return dataclasses.replace(
        step, **{name: np.asarray(values, np.int32) for name, values in changes.items()}
    )


def run(backend, sampling: SamplingParams, num_top: int, num_steps: int = 5) -> list[StepOutput]:
    """The mixed steps with logprobs, every third row without; every second sampled row has a mask."""
    maker = StepMaker(mixed_prompts(VOCAB), sampling)
    masks = np.random.default_rng(2).integers(0, 2**32, (8, -(-VOCAB // 32)), dtype=np.uint32)
    outputs = []
    for step, _ in zip(mixed_steps(maker), range(num_steps), strict=False):
        rows = np.arange(len(step.output_row))
        step = with_outputs(
            step,
            num_logprobs=np.where(rows % 3 == 2, NO_LOGPROBS, num_top - rows % 2),
            mask_row=np.where(rows % 2 == 1, rows, NO_MASK),
        )
        output = backend.collect(backend.submit(step), masks)
        maker.append(step, output.token)
        outputs.append(output)
        assert_valid(step, output)
    backend.close()
    return outputs


def assert_valid(step: StepInput, output: StepOutput) -> None:
    """Erase what may hold anything."""
    assert (output.status == RowStatus.OK).all() and output.logprobs is not None
    for row, wanted in enumerate(step.num_logprobs.tolist()):
        for name in ("top_ids", "top_logprobs"):
            getattr(output.logprobs, name)[row, max(wanted, 0) :] = 0
        if wanted == NO_LOGPROBS:
            output.logprobs.logprob[row] = output.logprobs.rank[row] = 0


def assert_same(ours: StepOutput, theirs: StepOutput) -> None:
    np.testing.assert_array_equal(ours.token, theirs.token)
    np.testing.assert_array_equal(ours.status, theirs.status)
    if theirs.logprobs is not None and ours.logprobs is not None:
        for field in dataclasses.fields(theirs.logprobs):
            a, b = getattr(ours.logprobs, field.name), getattr(theirs.logprobs, field.name)
            np.testing.assert_array_equal(a.view(np.int32), b.view(np.int32), err_msg=field.name)
    if theirs.pooled is not None and ours.pooled is not None:
        np.testing.assert_array_equal(ours.pooled.view(np.int32), theirs.pooled.view(np.int32))
    assert (ours.logprobs is None, ours.pooled is None) == (theirs.logprobs is None, theirs.pooled is None)


@pytest.mark.parametrize("name", SAMPLINGS)
def test_tokens_and_logprobs_equal_the_reference(name: str) -> None:
    program, tensors = tiny_model(num_layers=1)
    expected = run(ReferenceBackend(program, tensors, LIMITS, NUM_BLOCKS), SAMPLINGS[name], 4)
    for isa in ISAS:
        backend = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS, num_threads=2, isa=isa)
        for ours, theirs in zip(run(backend, SAMPLINGS[name], 4), expected, strict=True):
            assert_same(ours, theirs)


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingParams(temperature=0),
        SamplingParams(temperature=1.9),
        SamplingParams(temperature=0.01),
        SamplingParams(top_k=1500),
        SamplingParams(temperature=0.3, top_k=20, top_p=0.7),
        SamplingParams(temperature=0.2, top_p=0.5),
        SamplingParams(temperature=2, top_p=0.999),
        SamplingParams(temperature=0.5, min_p=0.02),
        SamplingParams(temperature=0.9, top_p=0.95, min_p=0.001),
        SamplingParams(top_k=40, allowed_token_ids=tuple(range(5, 3000, 131))),
    ],
)
def test_a_vocabulary_of_many_groups(sampling: SamplingParams) -> None:
    """What the native executor leaves out of 3,001 columns does not change what is sampled."""
    program, tensors = tiny_model(num_layers=1, vocab_size=3001)
    tensors["head"] = Tensor.of("head", expand_to_f32(tensors["head"]) * np.float32(9))
    step = StepMaker({slot: [7 * slot + i for i in range(1, 6)] for slot in range(8)}, sampling).step(
        dict.fromkeys(range(8), 5)
    )
    step = with_outputs(step, num_logprobs=[20] * 8)
    reference = ReferenceBackend(program, tensors, LIMITS, NUM_BLOCKS)
    expected = reference.collect(reference.submit(step))
    for isa in ISAS:
        backend = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS, isa=isa)
        assert_same(backend.collect(backend.submit(step)), expected)
        backend.close()


def test_equal_logits_in_different_items_of_the_head_give_the_lowest_id() -> None:
    program, tensors = tiny_model(num_layers=1, vocab_size=3001)
    half = expand_to_f32(tensors["head"])[:1500]
    tensors["head"] = Tensor.of("head", np.concatenate([half, half, half[:1]]))
    step = StepMaker({slot: [slot + 1, 5] for slot in range(8)}, SamplingParams(temperature=0)).step(
        dict.fromkeys(range(8), 2)
    )
    reference = ReferenceBackend(program, tensors, LIMITS, NUM_BLOCKS)
    expected = reference.collect(reference.submit(step)).token.tolist()
    assert max(expected) < 1500
    for isa in ISAS:
        backend = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS, num_threads=2, isa=isa)
        assert backend.collect(backend.submit(step)).token.tolist() == expected
        backend.close()


def scoring_step(prompt: list[int], num_top: int) -> StepInput:
    """A prompt whose last row is sampled; each row before is scored, and each of the last 20 is pooled."""
    step = StepMaker({0: prompt}, SamplingParams(temperature=0)).step({0: len(prompt)})
    scored, pooled = len(prompt) - 1, 20
    return with_outputs(
        step,
        output_row=[scored, *range(scored), *range(len(prompt) - pooled, len(prompt))],
        output_slot=[0] * (1 + scored + pooled),
        output_kind=[OutputKind.SAMPLE] + [OutputKind.SCORE] * scored + [OutputKind.POOL] * pooled,
        target=[-1, *prompt[1:]] + [-1] * pooled,
        num_logprobs=[num_top] * (1 + scored) + [NO_LOGPROBS] * pooled,
        mask_row=[NO_MASK] * (1 + scored + pooled),
    )


@pytest.mark.parametrize("num_top", [0, 3])
def test_scores_and_hidden_states_of_more_rows_than_there_are_slots(num_top: int) -> None:
    program, tensors = tiny_model(num_layers=1)
    prompt = np.random.default_rng(1).integers(0, VOCAB, 45).tolist()
    step = scoring_step(prompt, num_top)
    reference = ReferenceBackend(program, tensors, LIMITS, NUM_BLOCKS)
    expected = reference.collect(reference.submit(step))
    assert expected.logprobs is not None and expected.pooled is not None
    assert expected.token[1:45].tolist() == prompt[1:]
    assert expected.pooled.shape == (20, program.architecture.hidden_size)
    for isa in ISAS:
        backend = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS, num_threads=2, isa=isa)
        assert_same(backend.collect(backend.submit(step)), expected)
        backend.close()


def test_a_prompt_may_be_scored_without_sampling() -> None:
    program, tensors = tiny_model(num_layers=1)
    whole = scoring_step(list(range(40)), 2)
    part = with_outputs(
        whole,
        **{name: getattr(whole, name)[1:40] for name in (
            "output_row", "output_slot", "output_kind", "target", "num_logprobs", "mask_row",
        )},
    )  # fmt: skip
    results = []
    for step in (whole, part):
        backend = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS)
        results.append(backend.collect(backend.submit(step)))
        backend.close()
    assert results[0].logprobs is not None and results[1].logprobs is not None
    np.testing.assert_array_equal(results[0].logprobs.logprob[1:40], results[1].logprobs.logprob)


@pytest.mark.parametrize("temperature", [0, 0.7])
@pytest.mark.parametrize("make", [ReferenceBackend, CpuBackend])
def test_a_row_without_an_allowed_token_fails(make, temperature: float) -> None:
    program, tensors = tiny_model(num_layers=1)
    sampling = SamplingParams(
        temperature=temperature, allowed_token_ids=(9, 10), bad_words_token_ids=((9,), (10,))
    )
    backend = make(program, tensors, LIMITS, NUM_BLOCKS)
    step = StepMaker({0: [1, 2, 3]}, sampling).step({0: 3})
    assert backend.collect(backend.submit(step)).status.tolist() == [RowStatus.NO_TOKEN]
    backend.close()


@pytest.mark.parametrize("make", [ReferenceBackend, CpuBackend])
def test_the_smallest_temperatures_are_greedy(make) -> None:
    """Logits of 100 divided by them are beyond fp32."""
    program, tensors = tiny_model(num_layers=1)
    biases = ((3, 100.0), (9, 99.5))
    tokens = []
    for temperature in (0, 1e-6, 1e-37, 1e-40, 5e-324):
        backend = make(program, tensors, LIMITS, NUM_BLOCKS)
        sampling = SamplingParams(temperature=temperature, logit_bias=biases, top_p=0.9, min_p=0.1)
        step = StepMaker({0: [1, 2, 3]}, sampling).step({0: 3})
        output = backend.collect(backend.submit(step))
        tokens.append((output.token.tolist(), output.status.tolist()))
        backend.close()
    assert tokens == tokens[:1] * 5 and tokens[0][1] == [RowStatus.OK]


@pytest.mark.parametrize("make", [ReferenceBackend, CpuBackend])
def test_a_score_that_is_not_finite_fails_its_row(make) -> None:
    program, tensors = tiny_model(num_layers=1)
    head = tensors["final_norm"]
    head.data.view(np.float32)[:] = 3e38  # finite, but what it multiplies is not
    backend = make(program, tensors, LIMITS, NUM_BLOCKS)
    with np.errstate(invalid="ignore", over="ignore"):
        output = backend.collect(backend.submit(scoring_step(list(range(30)), 2)))
    assert (output.status == RowStatus.NOT_FINITE).all()
    backend.close()


def test_the_head_is_where_the_program_says() -> None:
    program, tensors = tiny_model(num_layers=1)
    backend = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS)
    step = scoring_step(list(range(30)), 1)
    output = backend.collect(backend.submit(step))
    assert output.pooled is not None and np.isfinite(output.pooled).all()
    assert backend.buffer(Program.logits, 1).shape == (1, VOCAB)
    backend.close()
