"""A budget for what Python does in a step: in calls, which no load of the machine changes."""

import pytest

from tests.counted_calls import CountedCalls
from tools.host_cost.engine import DecodingEngine, measure

CALLS_OF_A_STEP = 290
CALLS_OF_A_REQUEST = 39


def calls_of(num_requests: int) -> float:
    """Of Python and of C functions, in a step that decodes; a mean, for every 16th takes a block."""
    engine = DecodingEngine(num_requests)
    try:
        with CountedCalls() as calls:
            for _ in range(32):
                engine.step()
    finally:
        engine.close()
    return calls.count / 32


def test_the_calls_of_a_step_and_of_each_request_in_it() -> None:
    one, many = calls_of(1), calls_of(65)
    assert one <= CALLS_OF_A_STEP
    assert (many - one) / 64 <= CALLS_OF_A_REQUEST


@pytest.mark.parametrize("is_cold", [False, True])
def test_every_part_of_a_step_is_measured(is_cold: bool) -> None:
    cost = measure(2, 1, is_cold=is_cold)
    assert min(cost.schedule, cost.call, cost.update, cost.frame) > 0
    assert cost.total == pytest.approx(cost.schedule + cost.call + cost.update + cost.frame)
