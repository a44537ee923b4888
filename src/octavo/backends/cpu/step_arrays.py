"""A step's arrays as the native executor reads and writes them: pointers into NumPy memory, no copies."""

import numpy as np
from numpy.typing import NDArray

from octavo.backends.base import empty_logprobs, pooled_status
from octavo.backends.cpu import library as native
from octavo.core.step import Admission, OutputKind, RowStatus, StepInput, StepOutput, StepPhase

_STEP_ARRAYS = (
    "copies", "new_blocks", "slot", "query_start", "num_computed", "token_ids", "output_row", "output_slot",
    "target", "num_logprobs", "mask_row",
)  # fmt: skip
_BIAS = np.dtype([("token", np.int32), ("bias", np.float32)])  # TokenBias in csrc/kernels.h


def fill_step(desc: native.StepDesc, step: StepInput, vocab_size: int) -> list[object]:
    """Point desc into the step; what is returned must live until the native call is over."""
    arrays = {name: np.ascontiguousarray(getattr(step, name), np.int32) for name in _STEP_ARRAYS}
    for name, array in arrays.items():
        setattr(desc, name, array.ctypes.data)
    desc.num_copies = len(step.copies)
    desc.num_new_blocks = len(step.new_blocks)
    desc.num_requests = step.num_requests
    desc.num_tokens = step.num_tokens
    desc.num_outputs = len(step.output_row)
    desc.num_sampled = int((step.output_kind == OutputKind.SAMPLE).sum())
    desc.num_scored = int((step.output_kind == OutputKind.SCORE).sum())
    admitted = (native.AdmissionDesc * max(len(step.admitted), 1))()
    lists = [_fill_admission(*pair, vocab_size) for pair in zip(admitted, step.admitted, strict=False)]
    desc.admitted, desc.num_admitted = admitted, len(step.admitted)
    return [arrays, admitted, lists]


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
        setattr(desc, name, array.ctypes.data)
    desc.slot, desc.num_tokens, desc.prompt_length = (
        admission.slot,
        len(admission.token_ids),
        admission.prompt_length,
    )
    desc.num_suppressed, desc.num_biases = len(lists["suppressed"]), len(lists["biases"])
    desc.num_bad_words = len(words)
    desc.temperature, desc.top_k = sampling.temperature, sampling.top_k
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
        num_pooled = int((step.output_kind == OutputKind.POOL).sum())
        self._pooled = np.empty((num_pooled, hidden_size), np.float32) if num_pooled else None
        self._phase_seconds = np.zeros(len(StepPhase))
        self.desc = native.ResultDesc(
            token=self._tokens.ctypes.data, phase_seconds=self._phase_seconds.ctypes.data
        )
        if self._logprobs is not None:
            for name in ("logprob", "rank", "top_ids", "top_logprobs"):
                setattr(self.desc, name, getattr(self._logprobs, name).ctypes.data)
            self.desc.max_logprobs = self._logprobs.top_ids.shape[1]
        if self._pooled is not None:
            self.desc.pooled = self._pooled.ctypes.data

    def output(self, step_id: int, seconds: float) -> StepOutput:
        tokens = self._tokens
        status = np.where(tokens < 0, -tokens, np.int32(RowStatus.OK))  # NOT_FINITE is -1 there, NO_TOKEN -2
        if self._pooled is not None:  # the last rows
            status[len(tokens) - len(self._pooled) :] = pooled_status(self._pooled)
        return StepOutput(
            step_id,
            np.maximum(tokens, 0),
            status,
            seconds,
            self._logprobs,
            self._pooled,
            self._phase_seconds,
        )
