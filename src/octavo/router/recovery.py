"""What the failed attempts of one request say: whether it is tried again, and where.

    loss        an octavo replica refused the connection, was cut off, hung, or drains. Never the request's
                fault: a replica's engine is a process of its own, and when it dies of a request, the replica
                lives and says so (docs/reliability.md)
    suspicion   an endpoint answers 500 or sends garbage; or one that is no octavo replica dies, of whatever

A request that is suspected twice without a token in between is not tried again.
"""

import asyncio
import dataclasses
import random

from octavo.http.headers import Headers
from octavo.router.endpoints import Endpoint
from octavo.router.retry_budget import RetryBudget

MAX_SUSPICIONS = 2
MAX_ATTEMPTS = 6  # that took the request and gave nothing; and of one round
RETRY_SECONDS = 0.2  # between two rounds, on average
_LOSSES = ("connect", "cut", "timeout", "gone", "draining")
_DEADLY = ("cut", "timeout", "gone", "garbage", "status 500")
_FREE_OF_CHARGE = ("connect", "cut", "gone", "draining")  # retries of these make no overload worse
BUSY = "status 503"  # 429 is about who asks, not about the endpoint
_NOT_TAKEN = ("connect", "draining", "status 429", BUSY)


@dataclasses.dataclass(frozen=True, slots=True)
class WholeAnswer:
    status: int
    headers: Headers
    body: bytes


class AttemptFailed(Exception):
    """An endpoint did not answer. answer: what it said instead, to be passed on when nobody does better.

    reason: connect, cut, timeout, gone, garbage, draining, or `status N`. has_progressed: it gave at least
    one token, so this request is not what brought it down.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        answer: WholeAnswer | None = None,
        has_progressed: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.answer = answer
        self.has_progressed = has_progressed


class Recovery:
    """A round is over when everybody who fits has been asked. The next one begins after a pause, if the
    request is owed one: an octavo replica had it and was lost."""

    def __init__(self, budget: RetryBudget, *, patience_seconds: float) -> None:
        """patience_seconds: for all pauses from one sign of progress to the next."""
        self.last: AttemptFailed | None = None
        self.last_endpoint: Endpoint | None = None  # whose that was
        self.tried: set[Endpoint] = set()  # in this round
        self._budget = budget
        self._patience_seconds = self._patience_left = patience_seconds
        self._num_suspicions = 0
        self._num_taken = 0  # attempts that took the request, since there was progress
        self._num_in_round = 0
        self._is_loss = False

    @property
    def is_taken_up(self) -> bool:
        """It has had its turn, and something else than load was in its way."""
        return self.last is not None and self.last.reason != BUSY

    @property
    def may_queue(self) -> bool:
        """The request could not be sent, was refused for load, or its replica was lost."""
        return self.last is None or self._is_loss or self.last.reason in ("connect", BUSY)

    @property
    def is_suspect(self) -> bool:
        """Two endpoints have failed on this request, and it may be why."""
        return self._num_suspicions >= MAX_SUSPICIONS

    def observe(self, failure: AttemptFailed, endpoint: Endpoint) -> None:
        self.last, self.last_endpoint = failure, endpoint
        self._is_loss = failure.reason in _LOSSES and endpoint.card is not None
        if failure.has_progressed:  # it is another request now: only the one that has just failed is left out
            self.tried = {endpoint}
            self._num_suspicions = self._num_taken = self._num_in_round = 0
            self._patience_left = self._patience_seconds
            return
        self.tried.add(endpoint)
        self._num_in_round += 1
        if not self._is_loss and failure.reason in _DEADLY:
            self._num_suspicions += 1
        if failure.reason not in _NOT_TAKEN:
            self._num_taken += 1

    def may_try_again(self, *, is_resumption: bool) -> bool:
        """is_resumption: of an answer that its client has in part, and that has cost work already."""
        assert self.last is not None
        if self.is_suspect or MAX_ATTEMPTS in (self._num_taken, self._num_in_round):
            return False
        return is_resumption or self.last.reason in _FREE_OF_CHARGE or self._budget.spend()

    async def next_round(self, *, is_resumption: bool) -> bool:
        """Wait a moment for somebody to come back. False: the request is owed no more."""
        if not (is_resumption or self._is_loss) or self._patience_left <= 0:
            return False
        self._patience_left -= await self.pause(self._patience_left)
        return True

    async def pause(self, max_seconds: float = 1.0) -> float:
        """Then everybody may be asked again. Returns the seconds."""
        seconds = min(max_seconds, RETRY_SECONDS * random.uniform(0.5, 1.5))
        await asyncio.sleep(seconds)
        self.begin_round()
        return seconds

    def begin_round(self) -> None:
        self.tried.clear()
        self._num_in_round = 0
