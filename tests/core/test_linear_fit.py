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


def test_what_is_remembered_in_full_weighs_as_much_as_what_is_new() -> None:
    forgetful, faithful = (LinearFit(START, relative_noise=0.5) for _ in range(2))
    for x in (*[10.0] * 1000, *[20.0] * 250):
        forgetful.observe((1.0, 1.0), x)
        faithful.observe((1.0, 1.0), x, remembered=1.0)
    assert value(forgetful, 1) > 15 > 14 > value(faithful, 1)


def test_a_machine_that_is_shared_makes_everything_slower_not_unknown() -> None:
    """Where only one kind of x is seen meanwhile, the others are still known."""
    fit = LinearFit(START, relative_noise=0.1)
    observe(fit, (2.0, 0.3), 400, noise=0.05)
    for _ in range(8):
        fit.observe((1.0, 10.0), 3 * 5.0)
    assert value(fit, 100) == pytest.approx(3 * 32, rel=0.1)
    for _ in range(8):
        fit.observe((1.0, 10.0), 5.0)
    assert value(fit, 100) == pytest.approx(32, rel=0.1)
