"""Whether an endpoint that keeps failing is asked again: closed, open, half open."""

import time
from collections.abc import Callable

NUM_FAILURES = 3  # in a row, until it opens
OPEN_SECONDS = 5.0  # the first time; doubled each time until an answer is good
MAX_OPEN_SECONDS = 300.0
_MAX_DOUBLINGS = 32  # beyond any limit, and within what a float holds


class CircuitBreaker:
    """Passive: learns from the requests themselves.

    closed     requests pass; NUM_FAILURES failures in a row open it
    open       nothing passes for a while
    half open  the while is over: one request passes. Its first token, or its whole answer, closes it;
               until an answer has ended well, the next failure opens it again
    """

    def __init__(
        self, *, open_seconds: float = OPEN_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._open_seconds = open_seconds
        self._clock = clock
        self._num_failures = 0
        self._num_openings = 0
        self._opened_at: float | None = None
        self._is_trying = False

    @property
    def state(self) -> str:
        if self._opened_at is None:
            return "closed"
        num_doublings = min(self._num_openings - 1, _MAX_DOUBLINGS)
        duration = min(self._open_seconds * 2**num_doublings, MAX_OPEN_SECONDS)
        return "half open" if self._clock() - self._opened_at >= duration else "open"

    @property
    def is_passable(self) -> bool:
        return self._opened_at is None or (self.state == "half open" and not self._is_trying)

    def begin(self) -> None:
        """A request goes to the endpoint."""
        self._is_trying = self._opened_at is not None

    def first_token(self) -> None:
        """Of a stream, which may last for minutes: nobody else needs to wait for its end."""
        if self._is_trying:
            self._opened_at = None
            self._is_trying = False

    def succeed(self) -> None:
        self._num_failures = self._num_openings = 0
        self._opened_at = None
        self._is_trying = False

    def fail(self) -> bool:
        """Returns whether this opened it."""
        self._num_failures += 1
        is_newly_open = self._num_failures >= NUM_FAILURES and self.state != "open"
        if is_newly_open:
            self._num_openings += 1
            self._opened_at = self._clock()
        self._is_trying = False
        return is_newly_open

    def forget(self) -> None:
        """A request ended without saying anything about the endpoint: its client left."""
        self._is_trying = False
