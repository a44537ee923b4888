"""A clock that moves only when told, for running the real engine in simulated time."""


class VirtualClock:
    def __init__(self, start_seconds: float = 0.0) -> None:
        self._now = start_seconds

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds
