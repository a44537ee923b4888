"""The plan is what the native library takes, to the byte but for bookkeeping; then it takes no more."""

import ctypes
import dataclasses

import numpy as np
import pytest

from octavo.backends.base import MemoryPlan, StepLimits
from octavo.backends.cpu.backend import CpuBackend
from octavo.backends.cpu.library import load_library
from octavo.backends.cpu.memory_plan import plan_memory, workspace_parts
from octavo.core.errors import StartError
from octavo.core.kv_dtype import KVDType
from octavo.core.sampling_params import (
    MAX_BAD_WORD_TOKENS,
    MAX_BAD_WORDS,
    MAX_LOGIT_BIAS,
    MAX_STOP_TOKEN_IDS,
    SamplingParams,
)
from octavo.core.step import Admission, StepInput
from octavo.engine.resources import resident_bytes
from octavo.models.architecture import Architecture
from tests.backends.tiny import EXPERTS, NUM_BLOCKS, SANDWICH, TINY, StepMaker, model_of, tiny_model

VOCAB = 4096
LIMITS = StepLimits(max_num_seqs=8, max_num_batched_tokens=512, max_model_len=128)
HUGE_PAGE = 2 << 20
BOOKKEEPING = 32 << 10  # of the objects themselves, and of lists rounded up by the allocator


def allocations() -> tuple[int, int]:
    """How often the library has allocated, and the bytes it holds."""
    count, num_bytes = ctypes.c_int64(), ctypes.c_int64()
    load_library().octavo_test_allocations(ctypes.byref(count), ctypes.byref(num_bytes))
    return count.value, num_bytes.value


def planned(arch: Architecture, num_threads: int, kv_dtype: KVDType = KVDType.BF16) -> tuple[MemoryPlan, int]:
    """The plan, and what the library holds more when it has been carried out."""
    program, tensors = model_of(arch)
    program = program.with_kv_dtype(kv_dtype)
    plan = plan_memory(program, tensors, LIMITS, num_threads)
    _, before = allocations()
    backend = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS, 20, num_threads=num_threads)
    _, after = allocations()
    assert plan.weight_bytes == backend._weights.num_bytes
    backend.close()
    assert allocations()[1] == before
    return dataclasses.replace(plan, num_blocks=NUM_BLOCKS, num_checkpoint_blocks=20), after - before


@pytest.mark.parametrize("arch", [TINY, SANDWICH, EXPERTS], ids=["tiny", "sandwich", "experts"])
@pytest.mark.parametrize("num_threads", [1, 3])
def test_the_library_holds_what_the_plan_says(arch: Architecture, num_threads: int) -> None:
    plan, held = planned(arch, num_threads)
    assert held == pytest.approx(plan.total_bytes - plan.weight_bytes, abs=BOOKKEEPING)


def test_an_int8_cache_takes_what_the_plan_says_and_little_more_than_half() -> None:
    plan, held = planned(TINY, 2, KVDType.INT8)
    assert held == pytest.approx(plan.total_bytes - plan.weight_bytes, abs=BOOKKEEPING)
    whole, _ = planned(TINY, 2)
    assert plan.kv_bytes / whole.kv_bytes == pytest.approx((16 + 4) / 32, abs=0.02)


def test_the_plan_does_not_need_weights() -> None:
    program, tensors = tiny_model()
    assert workspace_parts(program, {}, LIMITS) == workspace_parts(program, tensors, LIMITS)


def test_every_limit_has_its_part_in_the_plan() -> None:
    program, tensors = tiny_model(vocab_size=VOCAB)
    base = workspace_parts(program, tensors, LIMITS, 1)
    larger = {
        "max_num_seqs": {"buffers", "lists", "sampling"},
        "max_num_batched_tokens": {"buffers", "lists", "scratch"},
        "max_model_len": {"rope_tables", "lists", "sampling"},
    }
    for field, expected in larger.items():
        limits = dataclasses.replace(LIMITS, **{field: getattr(LIMITS, field) * 4})
        parts = workspace_parts(program, tensors, limits, 1)
        assert {name for name, size in parts.items() if size > base[name]} == expected
    assert workspace_parts(program, tensors, LIMITS, 2)["scratch"] == 2 * base["scratch"]


def test_an_unknown_instruction_set_has_no_plan() -> None:
    program, tensors = tiny_model()
    with pytest.raises(StartError, match="sse9"):
        plan_memory(program, tensors, LIMITS, isa="sse9")


def with_long_lists(step: StepInput) -> StepInput:
    """Every request with as much to sample by as is allowed."""
    ids = tuple(range(VOCAB))
    sampling = SamplingParams(
        temperature=0.7,
        repetition_penalty=1.1,
        presence_penalty=0.2,
        frequency_penalty=0.1,
        logit_bias=tuple((token, 1.0) for token in ids[:MAX_LOGIT_BIAS]),
        allowed_token_ids=ids,
        bad_words_token_ids=tuple((token,) * MAX_BAD_WORD_TOKENS for token in ids[:MAX_BAD_WORDS]),
        stop_token_ids=ids[:MAX_STOP_TOKEN_IDS],
        logprobs=20,
        min_tokens=64,
    )
    admitted = tuple(
        Admission(a.slot, a.token_ids, a.prompt_length, sampling, a.seed, suppressed_token_ids=ids[:1100])
        for a in step.admitted
    )
    num_logprobs = np.full_like(step.num_logprobs, 20)
    return dataclasses.replace(step, admitted=admitted, num_logprobs=num_logprobs)


@pytest.mark.parametrize("experts", [None, EXPERTS.experts])
def test_steps_of_the_largest_shape_allocate_nothing(experts: object) -> None:
    """All slots, all rows of a step, every list at its limit, until the sequences are as long as allowed."""
    layer_kinds = EXPERTS.layer_kinds if experts else TINY.layer_kinds
    program, tensors = tiny_model(vocab_size=VOCAB, experts=experts, layer_kinds=layer_kinds, num_layers=1)
    backend = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS, num_threads=2)
    rng = np.random.default_rng(1)
    length = LIMITS.max_num_batched_tokens // LIMITS.max_num_seqs
    slots = range(LIMITS.max_num_seqs)
    maker = StepMaker({slot: rng.integers(0, VOCAB, length).tolist() for slot in slots}, SamplingParams())
    count, _ = allocations()
    step = with_long_lists(maker.step(dict.fromkeys(slots, length)))
    for _ in range(LIMITS.max_model_len - length):
        output = backend.collect(backend.submit(step))
        assert (output.status == 0).all()
        maker.append(step, output.token)
        num_logprobs = np.full(len(slots), 20, np.int32)
        step = dataclasses.replace(maker.step(dict.fromkeys(slots, 1)), num_logprobs=num_logprobs)
    assert allocations()[0] == count
    backend.close()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"suppressed_token_ids": tuple(range(2049))}, "more than a slot has room for"),
        ({"slot": LIMITS.max_num_seqs}, "admitted to no slot"),
        ({"token_ids": np.zeros(LIMITS.max_model_len + 1, np.int32)}, "longer than max_model_len"),
    ],
)
def test_a_request_that_does_not_fit_its_slot_is_refused(change: dict[str, object], problem: str) -> None:
    program, tensors = tiny_model()
    backend = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS)
    step = StepMaker({0: [1, 2, 3]}, SamplingParams()).step({0: 3})
    admission = dataclasses.replace(step.admitted[0], **change)
    with pytest.raises(ValueError, match=problem):
        backend.submit(dataclasses.replace(step, admitted=(admission,)))
    backend.close()


def touched_ahead(backend: CpuBackend) -> int:
    """Bytes that become resident by it."""
    before = resident_bytes()
    while backend.touch_ahead():
        pass
    return resident_bytes() - before


def test_memory_of_blocks_is_taken_ahead_of_their_use_as_much_as_has_been_used() -> None:
    program, tensors = model_of(TINY)
    block_bytes = program.kv_groups[0].block_bytes
    backend = CpuBackend(program, tensors, LIMITS, (160 << 20) // block_bytes)
    assert touched_ahead(backend) == pytest.approx(64 << 20, abs=HUGE_PAGE)
    assert touched_ahead(backend) == pytest.approx(0, abs=HUGE_PAGE)
    step = StepMaker({0: [1, 2, 3]}, SamplingParams(temperature=0)).step({0: 3})
    step.new_blocks[:, 3] = (70 << 20) // block_bytes
    backend.collect(backend.submit(step))
    assert touched_ahead(backend) == pytest.approx(70 << 20, abs=2 * HUGE_PAGE)
    step.new_blocks[:, 3] = (100 << 20) // block_bytes
    backend.collect(backend.submit(step))
    assert touched_ahead(backend) == pytest.approx(20 << 20, abs=2 * HUGE_PAGE)  # there are no more
    backend.close()
