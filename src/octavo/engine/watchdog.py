"""A hang is judged by progress, not by ping: work waits, and for a whole deadline nothing moves."""

import math
from collections.abc import Hashable


class ProgressWatch:
    """Asked at regular intervals; counts looks rather than time.

    So a server that itself was suspended, or whose event loop was blocked, does not blame the engine: however
    long it was away, it has looked only once.
    """

    def __init__(self, deadline_seconds: float, interval_seconds: float) -> None:
        self._max_looks = max(2, math.ceil(deadline_seconds / interval_seconds))
        self._num_looks = 0
        self._mark: Hashable = None

    def is_hung(self, is_working: bool, mark: Hashable) -> bool:
        """mark is anything that changes when the engine makes progress."""
        if not is_working or mark != self._mark:
            self._mark = mark
            self._num_looks = 0
            return False
        self._num_looks += 1
        return self._num_looks >= self._max_looks
