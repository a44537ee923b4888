"""What is done to a row of logits before sampling, bias, penalties and masks in this order, and the log
probabilities that are reported of the row as it was before.
"""

from collections.abc import Sequence

import numpy as np

from octavo.backends.reference.arithmetic import F32, LANES, U32, exp, f32, f64, log, tree
from octavo.core.sampling_params import SamplingParams
from octavo.core.step import Admission

_LANES_PER_SUM = 64 * LANES  # columns whose exponentials are summed before they join the total


def adjust(logits: F32, admission: Admission, token_ids: Sequence[int], mask: U32 | None) -> F32:
    """The logits [vocab] from which the token after token_ids is sampled; -inf: not allowed."""
    sampling = admission.sampling
    adjusted = logits.copy()
    for token, bias in sampling.logit_bias:
        adjusted[token] = f32(f64(adjusted[token]) + f64(np.float32(bias)))
    output = token_ids[admission.prompt_length :]
    if sampling.has_penalties:
        adjusted = _penalize(adjusted, sampling, token_ids, output)
    is_allowed = np.ones(len(logits), bool)
    if sampling.allowed_token_ids is not None:
        is_allowed[:] = False
        is_allowed[list(sampling.allowed_token_ids)] = True
    if mask is not None:
        is_allowed &= np.unpackbits(mask.view(np.uint8), bitorder="little")[: len(logits)].astype(bool)
    if len(output) < sampling.min_tokens:
        is_allowed[list(admission.suppressed_token_ids)] = False
    for *beginning, last in sampling.bad_words_token_ids:
        if len(beginning) <= len(output) and list(output[len(output) - len(beginning) :]) == beginning:
            is_allowed[last] = False
    return np.where(is_allowed, adjusted, np.float32(-np.inf))


def _penalize(logits: F32, sampling: SamplingParams, token_ids: Sequence[int], output: Sequence[int]) -> F32:
    seen = np.unique(np.array(token_ids, np.int64))
    counts = np.bincount(np.array(output, np.int64), minlength=len(logits))[seen]
    x, factor = logits[seen], f64(np.float32(sampling.repetition_penalty))
    x = np.where(x > 0, f32(f64(x) / factor), f32(f64(x) * factor))
    frequency = f32(f64(np.float32(sampling.frequency_penalty)) * counts)
    x = np.where(counts > 0, f32(f64(x) - f64(frequency)), x)
    x = np.where(counts > 0, f32(f64(x) - f64(np.float32(sampling.presence_penalty))), x)
    penalized = logits.copy()
    penalized[seen] = x
    return penalized


def log_normalizer(logits: F32) -> tuple[np.float32, np.float32]:
    """(m, l): the log probability of a token is (logit - m) - l, with m the maximum.

    e^(x - m) is summed lane by lane over 64 vectors of 16, those by a tree, and the sums in ascending order.
    """
    top = logits.max()
    padding = -len(logits) % _LANES_PER_SUM
    shifted = f32(f64(np.pad(logits, (0, padding), constant_values=-np.inf)) - f64(top))
    parts = exp(shifted).reshape(-1, _LANES_PER_SUM // LANES, LANES)
    lanes = np.zeros((len(parts), LANES), np.float32)
    for i in range(parts.shape[1]):
        lanes = f32(f64(lanes) + f64(parts[:, i]))
    total = np.zeros(1, np.float32)
    for part in tree(lanes):
        total = f32(f64(total) + f64(part))
    return top, log(total)[0]


def score(logits: F32, token: int, num_top: int) -> tuple[np.float32, int, list[int], list[np.float32]]:
    """A token's log probability and rank, and the most probable tokens with theirs; ties to the lower id."""
    top, normalizer = log_normalizer(logits)
    logprobs = f32(f64(f32(f64(logits) - f64(top))) - f64(normalizer))
    is_tie_before = (logits == logits[token]) & (np.arange(len(logits)) < token)
    rank = 1 + int((logits > logits[token]).sum()) + int(is_tie_before.sum())
    best = np.argsort(-logits, kind="stable")[:num_top]
    return logprobs[token], rank, best.tolist(), list(logprobs[best])
