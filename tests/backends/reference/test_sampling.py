"""Sampling as specified: distributions, thresholds, ties and seeds."""

import numpy as np
import pytest

from octavo.backends.reference.sampling import gumbel, sample
from octavo.core.sampling_params import SamplingParams

LOGITS = np.log(np.array([0.5, 0.25, 0.125, 0.0625, 0.0625], np.float32))


def counts(sampling: SamplingParams, num_draws: int = 4000) -> np.ndarray:
    tokens = [sample(LOGITS, sampling, seed=9, branch=0, position=p) for p in range(num_draws)]
    return np.bincount(tokens, minlength=len(LOGITS)) / num_draws


def test_greedy_takes_the_lowest_id_of_a_tie() -> None:
    assert sample(np.array([1, 3, 3], np.float32), SamplingParams(temperature=0), 1, 0, 0) == 1


def test_temperature_one_samples_the_softmax() -> None:
    np.testing.assert_allclose(counts(SamplingParams()), np.exp(LOGITS), atol=0.025)


def test_temperature_sharpens() -> None:
    sharp = np.exp(LOGITS / 0.5)
    np.testing.assert_allclose(counts(SamplingParams(temperature=0.5)), sharp / sharp.sum(), atol=0.025)


@pytest.mark.parametrize(
    ("sampling", "survivors"),
    [
        (SamplingParams(top_k=2), 2),
        (SamplingParams(top_k=4), 5),  # the fourth and the fifth tie
        (SamplingParams(top_k=100), 5),
        (SamplingParams(top_p=0.5), 1),
        (SamplingParams(top_p=0.51), 2),
        (SamplingParams(top_p=0.76), 3),
        (SamplingParams(min_p=0.24), 3),
        (SamplingParams(top_k=3, top_p=0.6), 2),  # top-p counts among the three that top-k left
        (SamplingParams(top_p=0.9, min_p=0.4), 2),
    ],
)
def test_survivors(sampling: SamplingParams, survivors: int) -> None:
    drawn = counts(sampling, 1500)
    assert (drawn[:survivors] > 0).all() and (drawn[survivors:] == 0).all()


def test_noise_is_a_function_of_seed_branch_position_and_token() -> None:
    base = gumbel(1, 0, 5, 1000)
    np.testing.assert_array_equal(base, gumbel(1, 0, 5, 1000))
    np.testing.assert_array_equal(base, gumbel(1, 0, 5, 5000)[:1000])
    for other in (
        gumbel(2, 0, 5, 1000),
        gumbel(1, 1, 5, 1000),
        gumbel(1, 0, 6, 1000),
        gumbel(-1, 0, 5, 1000),
    ):
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.1


def test_noise_has_the_gumbel_distribution() -> None:
    noise = np.sort(gumbel(3, 0, 0, 200_000))
    expected = np.exp(-np.exp(-noise.astype(np.float64)))
    assert np.abs(expected - (np.arange(len(noise)) + 0.5) / len(noise)).max() < 0.005
    assert noise[-1] > 10 and np.isfinite(noise).all()
