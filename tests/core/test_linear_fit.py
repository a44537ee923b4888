import random

import pytest

from octavo.core.linear_fit import LinearFit

START = (1.0, 0.1)


def observe(fit: LinearFit, true: tuple[float, float], count: int, *, noise: float = 0.0) -> None:
    lots = random.Random(0)
    for _ in range(count):
        x = lots.uniform(1, 100)
        fit.observe((1.0, x), (true[0] + true[1] * x) * (1 + noise * lots.uniform(-1, 1)))


def value(fit: LinearFit, x: float) -> float:
    return fit.coefficients[0] + fit.coefficients[1] * x


def test_it_starts_as_told() -> None:
    assert LinearFit(START, relative_noise=0.1).coefficients == START


@pytest.mark.parametrize("factor", [0.1, 1, 5, 20])
def test_it_finds_other_coefficients(factor: float) -> None:
    fit = LinearFit(START, relative_noise=0.1)
    observe(fit, (2 * factor, 0.3 * factor), 400, noise=0.05)
    assert value(fit, 50) == pytest.approx(17 * factor, rel=0.05)


def test_one_outlier_is_clipped_and_several_are_believed() -> None:
    fit = LinearFit(START, relative_noise=0.1)
    observe(fit, START, 200)
    fit.observe((1.0, 50.0), 6e4)
    assert value(fit, 50) == pytest.approx(6, rel=0.2)
    observe(fit, (10.0, 1.0), 50)
    assert value(fit, 50) == pytest.approx(60, rel=0.1)


def test_no_coefficient_falls_below_zero() -> None:
    fit = LinearFit(START, relative_noise=0.1)
    for _ in range(200):
        fit.observe((1.0, 10.0), 0.0)
        assert min(fit.coefficients) >= 0


def test_the_longer_it_is_ago_the_more_may_have_changed() -> None:
    soon, late = (LinearFit(START, relative_noise=0.5) for _ in range(2))
    for x in (*[10.0] * 1000, *[20.0] * 50):
        soon.observe((1.0, 1.0), x, elapsed=0.01)
        late.observe((1.0, 1.0), x, elapsed=100.0)
    assert value(late, 1) > 15 > 13 > value(soon, 1)


def test_noise_of_many_that_are_alike_does_not_change_what_others_are() -> None:
    fit = LinearFit(START, relative_noise=0.1)
    observe(fit, (2.0, 0.3), 400, noise=0.05)
    lots = random.Random(1)
    for _ in range(5000):
        x = lots.uniform(10, 11)
        fit.observe((1.0, x), (2.0 + 0.3 * x) * lots.gauss(1, 0.1))
        assert value(fit, 100) == pytest.approx(32, rel=0.2)


@pytest.mark.parametrize("factor", [0.4, 1.3, 2, 3])
def test_a_machine_that_is_shared_makes_everything_slower_not_unknown(factor: float) -> None:
    """Where only one kind of x is seen meanwhile, the others are still known."""
    fit = LinearFit(START, relative_noise=0.1, common_drift=0.02)
    observe(fit, (2.0, 0.3), 400, noise=0.05)
    for now in (factor, 1.0):
        for _ in range(10):
            fit.observe((1.0, 10.0), now * 5.0)
        assert value(fit, 100) == pytest.approx(now * 32, rel=0.12)


@pytest.mark.parametrize("seed", range(3))
def test_one_kind_that_is_no_line_does_not_scale_the_others(seed: int) -> None:
    """Long ones take 1.8 times what they should, eight in a row, again and again: three short ones tell."""
    fit = LinearFit(START, relative_noise=0.1, common_drift=0.02)
    lots = random.Random(seed)
    observe(fit, (2.0, 0.3), 400, noise=0.05)
    for _ in range(20):
        for _ in range(8):
            fit.observe((1.0, 100.0), 1.8 * 32 * lots.gauss(1, 0.1))
        for number in range(50):
            x = lots.uniform(1, 3)
            fit.observe((1.0, x), (2.0 + 0.3 * x) * lots.gauss(1, 0.1))
            assert number < 2 or value(fit, 2) == pytest.approx(2.6, rel=0.3)
