import pytest

from octavo.bench.knee import capacity, knee
from octavo.bench.percentiles import Percentiles
from octavo.bench.result import Result
from tests.bench.samples import sample_result, sample_serving


def sweep(*points: tuple[float, float]) -> list[Result]:
    """Of (output tokens per second, mean seconds a request takes)."""
    return [
        sample_result(output_tokens_per_second=rate, e2e_seconds=Percentiles.of([seconds]))
        for rate, seconds in points
    ]


def test_a_queue_has_its_knee_where_throughput_over_latency_is_most() -> None:
    """M/M/1 with 1 request/s of capacity: throughput x, latency 1/(1-x), power x(1-x): most at one half."""
    loads = [i / 10 for i in range(1, 10)]
    assert knee(sweep(*[(x, 1 / (1 - x)) for x in loads])) == loads.index(0.5)


def test_a_server_that_batches_for_nothing_has_it_where_batches_end() -> None:
    points = [(100.0, 1.0), (800.0, 1.0), (1600.0, 1.0), (1700.0, 3.8), (1700.0, 7.5)]
    assert knee(sweep(*points)) == 2


@pytest.mark.parametrize("points", [[(1.0, 1.0), (2.0, 1.0)], [(0.0, 0.0)] * 3])
def test_too_few_points_have_none(points: list[tuple[float, float]]) -> None:
    assert knee(sweep(*points)) is None


@pytest.mark.parametrize(
    ("shares", "last"),
    [([1.0, 0.995, 0.7], 1), ([0.9, 1.0], None), ([1.0, 1.0], 1), ([None, None], None), ([1.0, 0.5, 1.0], 0)],
)
def test_capacity_is_the_last_load_within_the_targets(shares: list[float | None], last: int | None) -> None:
    results = [sample_result(serving=sample_serving(good_share=share)) for share in shares]
    assert capacity(results) == last
    assert capacity([sample_result()]) is None
