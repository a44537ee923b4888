"""The native executor equals the reference: every op, every instruction set, any number of threads."""

import dataclasses

import numpy as np
import pytest

from octavo.backends.base import StepLimits
from octavo.backends.cpu.backend import CpuBackend
from octavo.backends.cpu.library import load_library
from octavo.backends.reference.backend import ReferenceBackend
from octavo.core.errors import ModelFileError, StartError
from octavo.core.kv_dtype import KVDType
from octavo.core.sampling_params import SamplingParams
from octavo.core.step import RowStatus, StepPhase
from octavo.models.architecture import Architecture
from octavo.models.digits import with_digits
from octavo.models.ops import OpKind
from octavo.models.program import Program
from octavo.weights.formats import TensorFormat
from tests.backends.tiny import (
    AFTER,
    EXPERTS,
    LIMITS,
    NUM_BLOCKS,
    SANDWICH,
    SCALED,
    TINY,
    StepMaker,
    mixed_prompts,
    mixed_steps,
    model_of,
    random_tensors,
    tiny_model,
)  # fmt: skip

BUILDS = ("portable", "avx2", "avx512", "amx", "amx_emulated", "avx512_plain", "avx2_plain")
ISAS = [isa for isa in BUILDS if load_library().octavo_has_isa(isa.encode())]
GREEDY = SamplingParams(temperature=0)
PENALIZED = SamplingParams(temperature=1.5, seed=3, repetition_penalty=1.4, frequency_penalty=0.5)


def run(
    backend,
    program: Program,
    num_steps: int = 99,
    sampling: SamplingParams = GREEDY,
    windows: list[int | None] | None = None,
) -> list[np.ndarray]:
    """Tokens and logits of the mixed steps."""
    prompts = mixed_prompts(program.architecture.vocab_size)
    windows = windows or [group.window for group in program.kv_groups]
    maker = StepMaker(prompts, sampling, windows)
    results = []
    for step, _ in zip(mixed_steps(maker), range(num_steps), strict=False):
        output = backend.collect(backend.submit(step))
        maker.append(step, output.token)
        results += [output.token, buffer_of(backend, Program.logits, len(step.output_row))]
    backend.close()
    return results


def buffer_of(backend, name: str, num_rows: int) -> np.ndarray:
    if isinstance(backend, ReferenceBackend):
        return backend.buffers[name]
    return backend.buffer(name, num_rows)


def bits(array: np.ndarray) -> np.ndarray:
    return array.view(np.uint32) if array.dtype == np.float32 else array


def assert_same(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(bits(a), bits(b))


@pytest.fixture(scope="module")
def expected() -> list[np.ndarray]:
    program, tensors = tiny_model()
    return run(ReferenceBackend(program, tensors, LIMITS, NUM_BLOCKS), program)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_tokens_and_logits_equal_the_reference(
    isa: str, num_threads: int, expected: list[np.ndarray]
) -> None:
    program, tensors = tiny_model()
    backend = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS, num_threads=num_threads, isa=isa)
    assert_same(run(backend, program), expected)


@pytest.mark.parametrize(("head_dim", "num_steps"), [(32, 5), (64, 5), (80, 5), (128, 5), (256, 2)])
def test_every_head_size_equals_the_reference(head_dim: int, num_steps: int) -> None:
    """Multiples of 32 up to 128 run on matrix units where there are any, others on vectors."""
    program, tensors = tiny_model(head_dim=head_dim, num_layers=1)
    reference = run(ReferenceBackend(program, tensors, LIMITS, NUM_BLOCKS), program, num_steps)
    for isa in ISAS:
        backend = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS, num_threads=2, isa=isa)
        assert_same(run(backend, program, num_steps), reference)


@pytest.mark.parametrize("arch", [TINY, SANDWICH, AFTER])
def test_an_int8_cache_equals_the_reference(arch: Architecture) -> None:
    """Windows, caps and scales, rows that do not fill a tile, blocks with new owners, several threads."""
    program, tensors = model_of(arch)
    program = program.with_kv_dtype(KVDType.INT8)
    reference = run(ReferenceBackend(program, tensors, LIMITS, NUM_BLOCKS), program, 5)
    for isa in ISAS:
        for num_threads in (1, 3):
            backend = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS, num_threads=num_threads, isa=isa)
            assert_same(run(backend, program, 5), reference)


@pytest.mark.parametrize(("head_dim", "num_steps"), [(32, 3), (64, 3), (96, 3), (128, 3), (256, 2), (512, 1)])
def test_every_head_size_of_an_int8_cache_equals_the_reference(head_dim: int, num_steps: int) -> None:
    program, tensors = tiny_model(head_dim=head_dim, num_layers=1)
    program = program.with_kv_dtype(KVDType.INT8)
    reference = run(ReferenceBackend(program, tensors, LIMITS, NUM_BLOCKS), program, num_steps)
    for isa in ISAS:
        backend = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS, num_threads=2, isa=isa)
        assert_same(run(backend, program, num_steps), reference)


def test_a_head_too_large_for_sums_of_32_bits_is_refused() -> None:
    program, tensors = tiny_model(head_dim=528)
    with pytest.raises(StartError, match="--kv-dtype int8 allows 512 at most"):
        CpuBackend(program.with_kv_dtype(KVDType.INT8), tensors, LIMITS, 4)


def test_every_weight_format_equals_the_reference() -> None:
    """Mixed also within the matrices stacked to one weight, as files mix them."""
    program, _ = tiny_model(hidden_size=256, ffn_size=512, num_layers=3)
    tensors = random_tensors(program, formats=list(TensorFormat))
    assert {tensor.format for tensor in tensors.values()} == set(TensorFormat)
    reference = run(ReferenceBackend(program, tensors, LIMITS, NUM_BLOCKS), program, 3)
    for isa in ISAS:
        backend = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS, num_threads=2, isa=isa)
        assert_same(run(backend, program, 3), reference)


@pytest.mark.parametrize("arch", [TINY, SANDWICH, AFTER, SCALED, EXPERTS])
def test_int8_activations_equal_the_reference(arch: Architecture) -> None:
    """Whatever surrounds the layers, and by how many threads."""
    plain, tensors = model_of(dataclasses.replace(arch, ffn_size=96))
    program = with_digits(plain)
    reference = run(ReferenceBackend(program, tensors, LIMITS, NUM_BLOCKS), program, 4)
    for isa in ISAS:
        for num_threads in (1, 3):
            backend = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS, num_threads=num_threads, isa=isa)
            assert_same(run(backend, program, 4), reference)
    others = run(CpuBackend(plain, tensors, LIMITS, NUM_BLOCKS), plain, 1)
    assert (others[1] != reference[1]).any()


def test_int8_activations_by_every_weight_format_equal_the_reference() -> None:
    program, _ = tiny_model(hidden_size=256, ffn_size=512, num_layers=3)
    tensors = random_tensors(program, formats=list(TensorFormat))
    program = with_digits(program)
    reference = run(ReferenceBackend(program, tensors, LIMITS, NUM_BLOCKS), program, 3)
    for isa in ISAS:
        backend = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS, num_threads=2, isa=isa)
        assert_same(run(backend, program, 3), reference)


@pytest.mark.parametrize("arch", [TINY, SANDWICH, AFTER, SCALED, EXPERTS])
def test_every_op_equals_the_reference(arch: Architecture) -> None:
    """The program cut after each op: what that op left in its buffer."""
    whole, tensors = model_of(arch)
    num_inner = next(i for i, op in enumerate(whole.ops) if op.kind is OpKind.GATHER)
    head = whole.ops[num_inner:]
    maker = StepMaker(mixed_prompts(211), GREEDY, [None] * len(whole.kv_groups))
    first, second, *_ = mixed_steps(maker)
    for end in range(1, num_inner + 1):
        program = dataclasses.replace(whole, ops=whole.ops[:end] + head)
        output = next((op.output for op in reversed(program.ops[:end]) if op.output), None)
        limits = StepLimits(8, 96, 700)
        reference = ReferenceBackend(program, tensors, limits, NUM_BLOCKS)
        reference.submit(first), reference.submit(second)
        for isa in ISAS:
            backend = CpuBackend(program, tensors, limits, NUM_BLOCKS, num_threads=2, isa=isa)
            backend.submit(first), backend.submit(second)
            ours = backend.buffer(output, len(reference.buffers[output]))
            backend.close()
            np.testing.assert_array_equal(
                bits(ours), bits(reference.buffers[output]), err_msg=f"{isa} {end} {output}"
            )


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingParams(temperature=0.7),
        SamplingParams(temperature=1.3, top_k=5),
        SamplingParams(temperature=1.0, top_p=0.5),
        SamplingParams(temperature=1.0, min_p=0.3),
        SamplingParams(temperature=0.9, top_k=50, top_p=0.9, min_p=0.01),
    ],
)
def test_sampled_tokens_equal_the_reference(sampling: SamplingParams) -> None:
    program, tensors = tiny_model()
    reference = run(ReferenceBackend(program, tensors, LIMITS, NUM_BLOCKS), program, 2, sampling)
    for isa in ISAS:
        assert_same(
            run(CpuBackend(program, tensors, LIMITS, NUM_BLOCKS, isa=isa), program, 2, sampling), reference
        )


@pytest.mark.parametrize("arch", [SANDWICH, AFTER, SCALED, EXPERTS])
def test_variants_equal_the_reference_with_blocks_freed_behind_windows(arch: Architecture) -> None:
    """Blocks behind a window get other owners at once; keeping them gives the same."""
    program, tensors = model_of(arch)
    expected = run(ReferenceBackend(program, tensors, LIMITS, NUM_BLOCKS), program, 5)
    for isa in ISAS:
        backend = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS, num_threads=2, isa=isa)
        assert_same(run(backend, program, 5), expected)
    kept = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS)
    assert_same(run(kept, program, 5, windows=[None] * len(program.kv_groups)), expected)


@pytest.mark.parametrize("sampling", [GREEDY, PENALIZED], ids=["greedy", "penalties"])
def test_a_token_is_sampled_after_each_draft_that_was_right(sampling: SamplingParams) -> None:
    """As without drafts, by every build and the reference; the slot goes on from there."""
    program, tensors = tiny_model()
    limits = dataclasses.replace(LIMITS, max_num_seqs=9)
    prompts = {0: [5, 6, 7], 1: [9] * 20}

    def alone(backend) -> dict[int, list[int]]:
        maker, tokens = StepMaker(prompts, sampling), {0: [], 1: []}
        for counts in ({0: 3, 1: 20}, *[{0: 1, 1: 1}] * 9):
            output = backend.collect(backend.submit(step := maker.step(counts)))
            maker.append(step, output.token)
            for slot, token in zip(step.output_slot.tolist(), output.token.tolist(), strict=True):
                tokens[slot].append(token)
        return tokens

    expected = alone(ReferenceBackend(program, tensors, limits, NUM_BLOCKS))
    wrong = [(token + 1) % program.architecture.vocab_size for token in expected[1]]
    guesses = {0: expected[0][1:5], 1: [expected[1][1], wrong[2], expected[1][3]]}
    backends = [ReferenceBackend(program, tensors, limits, NUM_BLOCKS)]
    backends += [CpuBackend(program, tensors, limits, NUM_BLOCKS, num_threads=2, isa=isa) for isa in ISAS]
    for backend in backends:
        maker = StepMaker(prompts, sampling)
        output = backend.collect(backend.submit(step := maker.step({0: 3, 1: 20})))
        maker.append(step, output.token)
        output = backend.collect(backend.submit(step := maker.step({0: 1, 1: 1}, guesses)))
        assert output.token.tolist() == [*expected[0][1:6], *expected[1][1:3], 0, 0]
        assert output.status.tolist() == [RowStatus.OK] * 7 + [RowStatus.NOT_SAMPLED] * 2
        maker.append(step, output.token, output.status)
        output = backend.collect(backend.submit(maker.step({0: 1, 1: 1})))
        assert output.token.tolist() == [expected[0][6], expected[1][3]]
        backend.close()


def test_a_step_leaves_the_floating_point_mode_as_it_was() -> None:
    denormal = np.array([1e-40], np.float32)
    program, tensors = tiny_model()
    run(CpuBackend(program, tensors, LIMITS, NUM_BLOCKS), program, 2)
    assert (denormal * np.float32(0.5) != 0).all()


def test_a_step_outside_the_limits_is_refused() -> None:
    program, tensors = tiny_model()
    backend = CpuBackend(program, tensors, StepLimits(8, 8, 96), NUM_BLOCKS)
    maker = StepMaker({0: list(range(9))}, GREEDY)
    with pytest.raises(ValueError, match="larger than the executor"):
        backend.submit(maker.step({0: 9}))
    backend.close()


@pytest.mark.parametrize("token", [-1, TINY.vocab_size, 10**9])
def test_what_is_no_token_is_neither_biased_nor_banned(token: int) -> None:
    program, tensors = tiny_model()
    backend = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS)
    biased = SamplingParams(logit_bias=((token, 1.0),))
    banned = SamplingParams(bad_words_token_ids=((token,),))
    for sampling in (biased, banned):
        with pytest.raises(ValueError, match="what is no token"):
            backend.submit(StepMaker({0: [1, 2]}, sampling).step({0: 2}))
    ends = StepMaker({0: [1, 2]}, SamplingParams(min_tokens=1)).step({0: 2})
    ends.admitted = (dataclasses.replace(ends.admitted[0], suppressed_token_ids=(token,)),)
    with pytest.raises(ValueError, match="what is no token"):
        backend.submit(ends)
    backend.close()


def test_an_unknown_instruction_set_is_a_start_error() -> None:
    program, tensors = tiny_model()
    with pytest.raises(StartError, match="sse9"):
        CpuBackend(program, tensors, LIMITS, 4, isa="sse9")


def test_a_head_size_the_kernels_cannot_read_is_refused() -> None:
    program, tensors = tiny_model(head_dim=8)
    with pytest.raises(ModelFileError, match="head size is 8"):
        CpuBackend(program, tensors, LIMITS, 4)


def test_a_step_says_what_its_time_went_into() -> None:
    program, tensors = tiny_model()
    maker = StepMaker(mixed_prompts(program.architecture.vocab_size), GREEDY, [None])
    backend = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS, num_threads=2)
    for step, _ in zip(mixed_steps(maker), range(3), strict=False):
        output = backend.collect(backend.submit(step))
        maker.append(step, output.token)
        assert output.phase_seconds is not None and len(output.phase_seconds) == len(StepPhase)
        forward = output.phase_seconds[[StepPhase.LINEAR, StepPhase.ATTENTION, StepPhase.ROWS]]
        assert (forward > 0).all() and output.phase_seconds.sum() <= output.seconds
    backend.close()
