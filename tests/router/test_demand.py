import pytest

from octavo.router.demand import FEW, Demand, RecentCounts
from tests.router.policies.some import endpoints, request


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_came_in_the_last_window_counts() -> None:
    clock = Clock()
    counts = RecentCounts(10.0, 100, clock)
    for _ in range(10):
        counts.add(("a", "b"))
        clock.now += 1.0
    assert (counts.count("a"), counts.count("b"), counts.count("c")) == (10, 10, 0)
    clock.now += 5.0
    counts.add(("a",))
    assert (counts.count("a"), counts.count("b")) == (6, 5)
    clock.now += 12.5  # windows begin when somebody looks: this one did 10 s after the first
    assert (counts.count("a"), counts.count("b")) == (1, 0)
    clock.now += 5.0
    assert counts.count("a") == 0.5
    clock.now += 20.0
    assert counts.count("a") == 0


def test_keys_are_bounded() -> None:
    counts = RecentCounts(10.0, 3, Clock())
    for number in range(100):
        counts.add((number,))
    assert sum(counts.count(number) > 0 for number in range(100)) <= 2 * 4
    assert counts.count(99) == 1


def takeovers(demand: Demand, *speeds: float, num_chunks: int = 2) -> list[float]:
    return demand.num_takeovers(ENDPOINTS[: len(speeds)], speeds, HOT, num_chunks)


ENDPOINTS = endpoints(3)
HOT = request(prefix=(1, 2, 3))
COLD = request(prefix=(7,))


def test_who_lacks_requests_would_take_over_some() -> None:
    demand = Demand(Clock())
    for _ in range(30):
        demand.routed(ENDPOINTS[0], HOT)
        demand.routed(ENDPOINTS[1], COLD)
    assert takeovers(demand, 1, 1, 1) == pytest.approx([0, 0, 30 * FEW / 3])
    assert takeovers(demand, 1, 1) == [0, 0]
    assert takeovers(demand, 1, 1, 2) == pytest.approx([0, 0, 30 * FEW / 2])  # it is twice as quick


def test_a_beginning_that_nobody_else_asks_for_is_not_computed_for_others() -> None:
    demand = Demand(Clock())
    demand.routed(ENDPOINTS[0], HOT)
    assert takeovers(demand, 1, 1) == [0, 0]
    demand.routed(ENDPOINTS[0], HOT)
    assert takeovers(demand, 1, 1)[1] > 0


def test_a_longer_beginning_than_others_share_is_another_one() -> None:
    demand = Demand(Clock())
    for last in range(10):
        demand.routed(ENDPOINTS[0], request(prefix=(1, 2, 100 + last)))
    assert takeovers(demand, 1, 1, num_chunks=2)[1] > 0
    assert takeovers(demand, 1, 1, num_chunks=3)[1] == 0
