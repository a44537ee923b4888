"""A step's arrays as the native executor reads and writes them: pointers into NumPy memory.

A step of one token is mostly the overhead of calls into NumPy and ctypes, so there are few: to copy a dozen
small arrays into one costs less than to ask each for its address.
"""

import numpy as np
from numpy.typing import NDArray

from octavo.backends.base import empty_logprobs, pooled_status
from octavo.backends.cpu import library as native
from octavo.core.step import Admission, OutputKind, StepInput, StepOutput, StepPhase

_BIAS = np.dtype([("token", np.int32), ("bias", np.float32)])  # TokenBias in csrc/kernels.h


def fill_step(desc: native.StepDesc, step: StepInput, vocab_size: int) -> list[object]:
    """Point desc into a copy of the step's arrays; what is returned must outlive the native call."""
    arrays = {
        "copies": step.copies,
        "new_blocks": step.new_blocks,
        "slot": step.slot,
        "query_start": step.query_start,
        "num_computed": step.num_computed,
        "token_ids": step.token_ids,
        "output_row": step.output_row,
        "output_slot": step.output_slot,
        "target": step.target,
        "num_logprobs": step.num_logprobs,
        "mask_row": step.mask_row,
    }
    data = np.concatenate(tuple(arrays.values()), axis=None, dtype=np.int32)
    address = native.address_of(data)
    for name, array in arrays.items():
        setattr(desc, name, address)
        address += 4 * array.size
    desc.num_copies = len(step.copies)
    desc.num_new_blocks = len(step.new_blocks)
    desc.num_requests = step.num_requests
    desc.num_tokens = step.num_tokens
    desc.num_outputs = len(step.output_row)
    desc.num_sampled = desc.num_outputs - np.count_nonzero(step.output_kind)
    desc.num_scored = num_of_kind(step, OutputKind.SCORE)
    desc.num_admitted = len(step.admitted)
    if not step.admitted:
        return [data]
    admitted = (native.AdmissionDesc * len(step.admitted))()
    lists = [_fill_admission(*pair, vocab_size) for pair in zip(admitted, step.admitted, strict=True)]
    desc.admitted = admitted
    return [data, admitted, lists]


def num_of_kind(step: StepInput, kind: OutputKind) -> int:
    """How many outputs of a kind other than SAMPLE, which is 0, a step has."""
    if not np.count_nonzero(step.output_kind):
        return 0
    return int(np.count_nonzero(step.output_kind == kind))


def _fill_admission(desc: native.AdmissionDesc, admission: Admission, vocab_size: int) -> object:
    sampling = admission.sampling
    words = sampling.bad_words_token_ids
    lists: dict[str, NDArray[np.generic]] = {
        "token_ids": np.ascontiguousarray(admission.token_ids, np.int32),
        "suppressed": np.array(admission.suppressed_token_ids, np.int32),
        "biases": np.array(list(sampling.logit_bias), _BIAS),
        "bad_words": np.array([token for word in words for token in word], np.int32),
        "bad_word_ends": np.cumsum([len(word) for word in words], dtype=np.int32),
    }
    if sampling.allowed_token_ids is not None:
        lists["allowed"] = _bitmask(sampling.allowed_token_ids, vocab_size)
    for name, array in lists.items():
        setattr(desc, name, native.address_of(array))
    desc.slot, desc.num_tokens, desc.prompt_length = (
        admission.slot,
        len(admission.token_ids),
        admission.prompt_length,
    )
    desc.num_suppressed, desc.num_biases = len(lists["suppressed"]), len(lists["biases"])
    desc.num_bad_words = len(words)
    desc.temperature = 0.0 if sampling.is_greedy else sampling.temperature
    desc.top_k = sampling.top_k
    desc.top_p, desc.min_p = sampling.top_p, sampling.min_p
    desc.repetition_penalty = sampling.repetition_penalty
    desc.presence_penalty = sampling.presence_penalty
    desc.frequency_penalty = sampling.frequency_penalty
    desc.seed = admission.seed & (2**64 - 1)
    desc.branch = admission.branch
    desc.suppressed_until = admission.prompt_length + sampling.min_tokens
    return lists


def _bitmask(token_ids: tuple[int, ...], vocab_size: int) -> NDArray[np.uint32]:
    bits = np.zeros(-(-vocab_size // 32) * 32, np.uint8)
    bits[list(token_ids)] = 1
    return np.packbits(bits, bitorder="little").view(np.uint32)


class StepResults:
    """The memory that a step's results are written to."""

    def __init__(self, step: StepInput, hidden_size: int) -> None:
        self._tokens = np.zeros(len(step.output_row), np.int32)
        self._logprobs = empty_logprobs(step)
        num_pooled = num_of_kind(step, OutputKind.POOL)
        self._pooled = np.empty((num_pooled, hidden_size), np.float32) if num_pooled else None
        self._phase_seconds = np.zeros(len(StepPhase))
        self.desc = native.ResultDesc(
            token=native.address_of(self._tokens), phase_seconds=native.address_of(self._phase_seconds)
        )
        if self._logprobs is not None:
            for name in ("logprob", "rank", "top_ids", "top_logprobs"):
                setattr(self.desc, name, native.address_of(getattr(self._logprobs, name)))
            self.desc.max_logprobs = self._logprobs.top_ids.shape[1]
        if self._pooled is not None:
            self.desc.pooled = native.address_of(self._pooled)

    def output(self, step_id: int, seconds: float) -> StepOutput:
        failures = np.minimum(self._tokens, 0)  # NOT_FINITE is -1 there, NO_TOKEN -2
        tokens, status = self._tokens - failures, -failures
        if self._pooled is not None:  # the last rows
            status[len(tokens) - len(self._pooled) :] = pooled_status(self._pooled)
        return StepOutput(
            step_id,
            tokens,
            status,
            seconds,
            self._logprobs,
            self._pooled,
            self._phase_seconds,
        )
