import pytest

from octavo.bench.percentiles import Percentiles


def test_percentiles_lie_between_order_statistics() -> None:
    found = Percentiles.of([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (found.mean, found.p50, found.max) == (3.0, 3.0, 5.0)
    assert found.p90 == pytest.approx(4.6) and found.p99 == pytest.approx(4.96)


def test_of_nothing_all_is_0() -> None:
    assert Percentiles.of([]) == Percentiles()
