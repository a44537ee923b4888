"""The bound on requests that wait, for an engine or for endpoints, and when a refused one may come back."""

import collections
import math

from octavo.core.errors import OverloadedError, RateLimitError

MAX_RETRY_AFTER_SECONDS = 60
NUM_REMEMBERED_ENDS = 256
TENANT_SHARE = 8  # a tenant may have so many times the places that are free: never all of them


class QueueBound:
    """As many requests may live as can run, plus as many as may wait."""

    def __init__(self, max_num_seqs: int, max_num_queued_requests: int) -> None:
        self._max_num_seqs = max_num_seqs
        self._max_num_queued = max_num_queued_requests
        self._ends: collections.deque[float] = collections.deque(
            maxlen=NUM_REMEMBERED_ENDS
        )  # monotonic seconds

    def check(self, num_live: int, now: float, *, num_of_tenant: int | None = None) -> None:
        """Raises OverloadedError when one more request would be too many, RateLimitError when it would be too
        many of one tenant's, num_of_tenant of which are live. A tenant alone gets eight ninths of the places,
        and whoever comes next finds some; the more tenants there are, the less each may have.
        """
        num_free = self._max_num_seqs + self._max_num_queued - num_live
        if num_free <= 0:
            raise OverloadedError(
                f"The queue is full: {self._max_num_queued} requests wait (--max-num-queued-requests).",
                retry_after_seconds=self.retry_after_seconds(num_live, now),
            )

        if num_of_tenant is not None and num_of_tenant >= TENANT_SHARE * num_free:
            raise RateLimitError(
                f"This key has {num_of_tenant} requests that run or wait, its share while {num_free} places "
                "are free.",
                retry_after_seconds=self.retry_after_seconds(num_live, now),
            )

    def retry_after_seconds(self, num_live: int, now: float) -> int:
        """How long the requests that wait now will take at the recent rate, 1 to 60; 60 if none has ended."""
        if not self._ends or now <= self._ends[0]:
            return MAX_RETRY_AFTER_SECONDS
        ends_per_second = len(self._ends) / (now - self._ends[0])
        num_waiting = max(1, num_live - self._max_num_seqs)
        return max(1, min(MAX_RETRY_AFTER_SECONDS, math.ceil(num_waiting / ends_per_second)))

    def record_end(self, now: float) -> None:
        """A request ran to its end."""
        self._ends.append(now)
