"""A hang is judged by progress, not by ping: work waits, and for a whole deadline nothing moves."""

import math
from collections.abc import Hashable


class ProgressWatch:
    """Asked at regular intervals; counts looks rather than time.

    So a server that itself was suspended, or whose event loop was blocked, does not blame the engine: however
    long it was away, it has looked only once. And a look counts only as far as the engine was given the
    processor it wanted: a machine that is busy with others slows a step, which is no hang.
    """

    def __init__(self, deadline_seconds: float, interval_seconds: float) -> None:
        self._max_looks = max(2, math.ceil(deadline_seconds / interval_seconds))
        self._num_looks = 0.0
        self._mark: Hashable = None

    def is_hung(self, is_working: bool, mark: Hashable, cpu_share: float = 1.0) -> bool:
        """mark is anything that changes when the engine makes progress; cpu_share as cpu_share.py has it."""
        if not is_working or mark != self._mark:
            self._mark = mark
            self._num_looks = 0.0
            return False
        self._num_looks += cpu_share
        return self._num_looks >= self._max_looks
