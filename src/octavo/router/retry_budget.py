"""How many retries the fleet can bear: a share of the requests, or a bad hour would be made worse."""

SHARE = 0.2  # retries per request, in the long run
RESERVE = 20.0  # retries at once, after a quiet time


class RetryBudget:
    """A bucket: each request puts in SHARE, each retry takes one out."""

    def __init__(self, *, share: float = SHARE, reserve: float = RESERVE) -> None:
        self._share = share
        self._reserve = reserve
        self._left = reserve

    def earn(self) -> None:
        self._left = min(self._left + self._share, self._reserve)

    def spend(self) -> bool:
        """Whether there is a retry left."""
        if self._left < 1:
            return False
        self._left -= 1
        return True
