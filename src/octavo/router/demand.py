"""What clients have asked for of late: which beginnings of prompts, and of which endpoint.

Tells which part of a prompt is worth computing at an endpoint that lacks it for more than this one prompt.
"""

import time
from collections.abc import Callable, Hashable, Sequence

from octavo.router.endpoints import Endpoint
from octavo.router.routed_request import RoutedRequest

WINDOW_SECONDS = 15.0
MAX_COUNTED_CHUNKS = 256  # of one prompt: a beginning that many share is shorter
MAX_KEYS = 131_072  # in one window; some 100 bytes each
FEW = 0.75  # of its share: an endpoint that gets less than this has room for what it lacks


class RecentCounts:
    """How often each key came in the last window, supposing that in the one before it came evenly."""

    def __init__(self, window_seconds: float, max_keys: int, clock: Callable[[], float]) -> None:
        self._window_seconds = window_seconds
        self._max_keys = max_keys
        self._clock = clock
        self._began = clock()
        self._now: dict[Hashable, int] = {}
        self._before: dict[Hashable, int] = {}

    def add(self, keys: Sequence[Hashable]) -> None:
        if not keys:
            return
        self._turn()
        counts = self._now
        for key in keys:
            counts[key] = counts.get(key, 0) + 1
        if len(counts) > self._max_keys:
            self._begin(counts)

    def count(self, key: Hashable) -> float:
        self._turn()
        part_left = 1 - (self._clock() - self._began) / self._window_seconds
        return self._now.get(key, 0) + part_left * self._before.get(key, 0)

    def _turn(self) -> None:
        windows_gone = (self._clock() - self._began) / self._window_seconds
        if windows_gone >= 1:
            self._begin(self._now if windows_gone < 2 else {})

    def _begin(self, before: dict[Hashable, int]) -> None:
        self._before, self._now, self._began = before, {}, self._clock()


class Demand:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._beginnings = RecentCounts(WINDOW_SECONDS, MAX_KEYS, clock)
        self._requests = RecentCounts(WINDOW_SECONDS, MAX_KEYS, clock)  # by endpoint's name

    def routed(self, endpoint: Endpoint, request: RoutedRequest) -> None:
        self._beginnings.add(request.prefix[:MAX_COUNTED_CHUNKS])
        self._requests.add((endpoint.name,))

    def num_takeovers(
        self, endpoints: Sequence[Endpoint], speeds: Sequence[float], request: RoutedRequest, num_chunks: int
    ) -> list[float]:
        """For each endpoint: how many requests of one window it would take over that begin with the first
        num_chunks of this one, if it had them. speeds: of the endpoints, in any unit; each one's share of the
        requests is as its speed. 0 where it gets FEW of its share already, or when nobody else has asked.
        """
        num_asked = self._beginnings.count(request.prefix[min(num_chunks, MAX_COUNTED_CHUNKS) - 1])
        if num_asked < 2:
            return [0.0] * len(endpoints)
        routed = [self._requests.count(endpoint.name) for endpoint in endpoints]
        num_routed, whole_speed = max(sum(routed), 1.0), sum(speeds)
        return [
            num_asked * max(FEW * speed / whole_speed - count / num_routed, 0.0)
            for speed, count in zip(speeds, routed, strict=True)
        ]
