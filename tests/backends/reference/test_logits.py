"""What is done to logits before sampling, and log probabilities, against independent formulas."""

import numpy as np
import pytest

from octavo.backends.reference.logits import adjust, score
from octavo.core.sampling_params import SamplingParams
from octavo.core.step import Admission

LOGITS = np.array([0.5, -1.0, 2.0, 0.0, -3.0], np.float32)


def adjusted(token_ids=(0, 1), prompt_length=1, mask=None, suppressed=(), **sampling) -> list[float]:
    admission = Admission(
        0, np.array([0]), prompt_length, SamplingParams(**sampling), 1, suppressed_token_ids=suppressed
    )
    return adjust(LOGITS, admission, token_ids, mask).tolist()


def allowed(**options) -> list[int]:
    return np.flatnonzero(np.array(adjusted(**options)) > -np.inf).tolist()


def test_repetition_penalty_is_for_prompt_and_output() -> None:
    assert adjusted(repetition_penalty=2.0) == [0.25, -2.0, 2.0, 0.0, -3.0]


def test_presence_and_frequency_penalties_are_for_the_output_only() -> None:
    tokens = (0, 1, 1, 1, 2)
    assert adjusted(tokens, presence_penalty=0.5) == [0.5, -1.5, 1.5, 0.0, -3.0]
    assert adjusted(tokens, frequency_penalty=0.25) == [0.5, -1.75, 1.75, 0.0, -3.0]


def test_bias_comes_before_penalties() -> None:
    assert adjusted(logit_bias=((1, 2.0), (4, -1.0)), repetition_penalty=2.0) == [0.25, 0.5, 2, 0, -4]


def test_what_is_not_allowed() -> None:
    assert allowed() == [0, 1, 2, 3, 4]
    assert allowed(allowed_token_ids=(1, 3, 4), mask=np.array([0b11010], np.uint32)) == [1, 3, 4]
    assert allowed(mask=np.array([0b00110], np.uint32)) == [1, 2]


def test_suppressed_ids_come_back_after_min_tokens() -> None:
    assert allowed(suppressed=(0, 2), min_tokens=2) == [1, 3, 4]
    assert allowed(suppressed=(0, 2), min_tokens=1) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("output", "expected"),
    [((), [0, 1, 2, 3]), ((1,), [0, 1, 3]), ((1, 2), [0, 1, 2]), ((2, 2), [0, 1, 2, 3])],
)
def test_bad_words_look_back_on_the_output(output: tuple[int, ...], expected: list[int]) -> None:
    words = ((4,), (1, 2), (1, 2, 3))
    assert allowed(token_ids=(1, *output), bad_words_token_ids=words) == expected


@pytest.mark.parametrize("size", [5, 1024, 4099])
def test_logprobs_are_a_log_softmax(size: int) -> None:
    logits = np.random.default_rng(size).normal(0, 4, size).astype(np.float32)
    wanted = logits.astype(np.float64) - np.logaddexp.reduce(logits.astype(np.float64))
    order = np.argsort(-logits, kind="stable")
    for token in (0, size - 1, int(order[1])):
        logprob, rank, top_ids, top_logprobs = score(logits, token, 4)
        assert logprob == pytest.approx(wanted[token], abs=2e-6)
        assert order[rank - 1] == token
        assert top_ids == order[:4].tolist()
        np.testing.assert_allclose(top_logprobs, wanted[order[:4]], atol=2e-6)


def test_ties_rank_by_id() -> None:
    logits = np.array([1, 7, 7, 0, 7], np.float32)
    assert [score(logits, token, 0)[1] for token in range(5)] == [4, 1, 2, 5, 3]
    assert score(logits, 0, 3)[2] == [1, 2, 4]
