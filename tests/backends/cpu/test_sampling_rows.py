"""Choosing a token from a row of logits, and scoring one: every build equals the reference, bit for bit."""

from collections.abc import Callable

import numpy as np
import pytest

from octavo.backends.reference.logits import score as reference_score
from octavo.backends.reference.sampling import sample as reference_sample
from octavo.core.sampling_params import SamplingParams
from tools.sampling_cost import BRANCH, SEED, available_isas, flat, peaked, sample, score

F32 = np.float32
SIZES = (1, 15, 16, 257, 5_003, 40_000)


def tied(size: int) -> np.ndarray:
    """Few values, as of a head in bf16: thousands of tokens at a threshold."""
    return np.round(flat(size) * 4) / F32(4)


def constant(size: int) -> np.ndarray:
    return np.full(size, 1.5, F32)


def steep(size: int) -> np.ndarray:
    """Most tokens weigh nothing; scaled logits are large."""
    return flat(size) * F32(3_000)


def like_a_model(size: int) -> np.ndarray:
    return peaked(size) if size > 2000 else flat(size) * F32(3)


ROWS = (flat, like_a_model, tied, constant, steep)
SAMPLINGS = [
    SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    for temperature in (1.0, 0.3, 1.7)
    for top_k, top_p, min_p in (
        (0, 1.0, 0.0),
        (1, 1.0, 0.0),
        (16, 1.0, 0.0),
        (0, 0.9, 0.0),
        (0, 0.05, 0.0),
        (0, 0.9999999, 0.0),
        (0, 1e-9, 0.0),
        (0, 5e-324, 0.0),
        (0, 1.0, 0.2),
        (0, 1.0, 1e-7),
        (300, 0.5, 0.0),
        (50, 0.95, 0.1),
        (0, 0.7, 0.05),
    )
]


@pytest.fixture(params=list(available_isas()))
def isa(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def expected(logits: np.ndarray, sampling: SamplingParams, num_positions: int) -> list[int]:
    return [reference_sample(logits, sampling, SEED, BRANCH, position) for position in range(num_positions)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("row", ROWS)
def test_tokens_equal_the_reference(isa: str, row: Callable[[int], np.ndarray], size: int) -> None:
    logits = row(size)
    num_positions = 8 if size < 10_000 else 2
    for sampling in SAMPLINGS:
        found = sample(isa, logits, sampling, num_positions)
        assert found == expected(logits, sampling, num_positions), sampling


@pytest.mark.parametrize("share", [0.001, 0.7])
def test_masked_tokens_weigh_nothing(isa: str, share: float) -> None:
    logits, size = flat(5_003), 5_003
    is_allowed = np.random.default_rng(3).random(size) < share
    mask = np.packbits(np.pad(is_allowed, (0, -size % 32)), bitorder="little").view(np.uint32)
    allowed = np.where(is_allowed, logits, F32(-np.inf))
    for sampling in SAMPLINGS:
        assert sample(isa, logits, sampling, 4, mask) == expected(allowed, sampling, 4), sampling


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("row", ROWS)
def test_scores_equal_the_reference(isa: str, row: Callable[[int], np.ndarray], size: int) -> None:
    logits = row(size)
    for token in {0, size // 3, size - 1, int(logits.argmax())}:
        num_top = min(20, size)
        assert score(isa, logits, token, num_top) == reference_score(logits, token, num_top)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 17, 256, 5_002])
def test_a_row_that_is_not_finite_has_no_token(isa: str, value: float, place: int) -> None:
    logits = flat(5_003)
    logits[place] = value
    assert sample(isa, logits, SamplingParams(top_p=0.9), 1) == [-1]
    with pytest.raises(RuntimeError, match="not finite"):
        score(isa, logits, 1, 0)
