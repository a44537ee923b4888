import numpy as np
import pytest

from octavo.backends.reference.quantize import (
    INT8_DIGITS,
    QUERY_DIGITS,
    digit_products,
    quantize,
    quantized_row,
)

RNG = np.random.default_rng(2)


@pytest.mark.parametrize("max_digit", [INT8_DIGITS, QUERY_DIGITS])
def test_digits_times_the_unit_are_the_values_to_half_a_unit(max_digit: int) -> None:
    rows = (RNG.normal(size=(50, 64)) * np.exp(RNG.uniform(-60, 60, (50, 1)))).astype(np.float32)
    digits, units = quantize(rows, max_digit)
    assert (digits == np.rint(digits)).all() and (np.abs(digits).max(axis=1) == max_digit).all()
    assert (np.abs(digits * units[:, None].astype(np.float64) - rows) <= 0.5001 * units[:, None]).all()


def test_ties_go_to_the_even_digit() -> None:
    digits, units = quantize(np.array([[127, 0.5, 1.5, -2.5]], np.float32), INT8_DIGITS)
    assert digits.tolist() == [[127, 0, 2, -2]] and units.tolist() == [1]


@pytest.mark.parametrize("value", [0.0, 1e-40, -1e-38])
def test_rows_too_small_for_a_unit_are_zero(value: float) -> None:
    digits, units = quantize(np.full((1, 4), value, np.float32), INT8_DIGITS)
    assert not digits.any() and not units.any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_has_no_digits_and_an_infinite_unit(value: float) -> None:
    rows = np.ones((2, 4), np.float32)
    rows[0, 1] = value
    assert quantized_row(rows).tolist() == [[0, 0, 0, 0, np.inf], [127, 127, 127, 127, 1 / np.float32(127)]]


def test_sums_of_products_are_exact() -> None:
    """The largest that can occur, which a sum in float32 would not get right."""
    a, b = np.full((1, 512), QUERY_DIGITS, np.float32), np.full((1, 512), INT8_DIGITS, np.float32)
    b[0, 0] = INT8_DIGITS - 1
    assert digit_products(a, b)[0, 0] == np.float32(QUERY_DIGITS * (INT8_DIGITS * 512 - 1))
    assert QUERY_DIGITS * INT8_DIGITS * 512 < 2**31
