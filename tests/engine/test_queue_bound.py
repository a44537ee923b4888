import pytest

from octavo.core.errors import OverloadedError
from octavo.engine.queue_bound import QueueBound


def test_as_many_may_live_as_run_and_wait() -> None:
    bound = QueueBound(max_num_seqs=2, max_num_queued_requests=3)
    bound.check(4, now=0)
    with pytest.raises(OverloadedError, match=r"3 requests wait \(--max-num-queued-requests\)"):
        bound.check(5, now=0)


@pytest.mark.parametrize(
    ("num_waiting", "seconds"),
    [(30, 3), (31, 4), (1, 1), (0, 1), (600, 60), (10_000, 60)],
)
def test_retry_after_is_the_wait_at_the_recent_rate_within_limits(num_waiting: int, seconds: int) -> None:
    bound = QueueBound(max_num_seqs=8, max_num_queued_requests=1000)
    for tenth in range(100):  # ten ends per second
        bound.record_end(tenth / 10)
    assert bound.retry_after_seconds(8 + num_waiting, now=10.0) == seconds


def test_without_a_rate_it_is_the_longest() -> None:
    bound = QueueBound(max_num_seqs=1, max_num_queued_requests=1)
    assert bound.retry_after_seconds(2, now=5) == 60
    bound.record_end(5)
    assert bound.retry_after_seconds(2, now=5) == 60
    assert bound.retry_after_seconds(2, now=7) == 2


def test_the_rate_is_a_recent_one() -> None:
    bound = QueueBound(max_num_seqs=1, max_num_queued_requests=1)
    bound.record_end(0)
    for index in range(256):
        bound.record_end(1000 + index / 256)
    assert bound.retry_after_seconds(257, now=1001) == 1
