import pytest

from octavo.core.errors import OverloadedError, RateLimitError
from octavo.core.queue_bound import QueueBound


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


def test_a_tenant_never_takes_the_last_places_and_the_more_there_are_the_less_each_may_have() -> None:
    bound = QueueBound(max_num_seqs=90, max_num_queued_requests=810)
    admitted = {"a": 0, "b": 0}
    for tenant in ("a", "b"):
        with pytest.raises(RateLimitError, match="its share while"):
            while True:
                bound.check(sum(admitted.values()), 0.0, num_of_tenant=admitted[tenant])
                admitted[tenant] += 1
    assert admitted == {"a": 800, "b": 89}
    bound.check(889, 0.0, num_of_tenant=0)
    with pytest.raises(OverloadedError):
        bound.check(900, 0.0, num_of_tenant=0)


def test_without_tenants_every_place_can_be_taken() -> None:
    bound = QueueBound(max_num_seqs=1, max_num_queued_requests=9)
    bound.check(9, 0.0)
