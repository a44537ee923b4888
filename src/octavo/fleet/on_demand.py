"""The replicas of a model that run only while somebody asks for it.

Goes by what the router tells: who waits for the model, and what its replicas have received. While the router
is silent nothing changes.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from octavo.fleet.member import Member
from octavo.fleet.router_view import Row

ENDING_SECONDS = 60.0  # for a replica without requests to end; then it is killed


class OnDemand:
    def __init__(
        self,
        members: Sequence[Member],
        *,
        starts_asleep: bool,
        idle_seconds: float | None,
        ending_seconds: float = ENDING_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """idle_seconds: without a request until they sleep; None: they stay once they have been started."""
        self._members = list(members)
        self._idle_seconds = idle_seconds
        self._ending_seconds = ending_seconds
        self._clock = clock
        self._busy_at = clock()
        self._num_received: int | None = None
        if starts_asleep:
            self._sleep("until the first request")

    def observe(self, rows: Mapping[str, Row]) -> None:
        """What the router says now, by the names of the members."""
        mine = [rows[member.name] for member in self._members if member.name in rows]
        num_received = sum(row.received for row in mine)
        is_busy = any(row.waiting or row.requests for row in mine) or num_received != self._num_received
        if is_busy:
            self._busy_at = self._clock()
        self._num_received = num_received
        if any(row.waiting for row in mine):
            for member in self._members:
                member.wake()
            return
        idle_for = self._clock() - self._busy_at
        if self._idle_seconds is not None and idle_for >= self._idle_seconds:
            self._sleep(f"no request for {self._idle_seconds:g} s")
            if idle_for >= self._idle_seconds + self._ending_seconds:
                for member in self._members:
                    member.kill()

    def _sleep(self, reason: str) -> None:
        for member in self._members:
            member.sleep(reason)
