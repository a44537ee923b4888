"""Whose fault was it? What is known of live requests after the engine has died.

Pure bookkeeping, in the server process; knows nothing of sockets, tokens or processes. K is a live request.

    a death in a step    ->  the requests new in it are suspects (all of them when none was new)
    a suspect            ->  has steps of its own (the scheduler sees to it) until it got past the point of
                             death: acquitted
    a suspect's death    ->  in a step of its own: it is set aside; nobody else ever is
    accused all again    ->  in company: half as many are let in together from then on, in the end one,
                             until those who were accused have ended

Suspects are tried one by one, not in halves: a trial costs a step that is owed anyway, a death a restart.
"""

import collections
import dataclasses
import enum
from typing import Generic, TypeVar

K = TypeVar("K")

MAX_KILLS = 3  # so often a newcomer is killed together with the engine before it is suspected of it (memory)


class DeathCause(enum.Enum):
    CRASH = "crashed"  # by its own doing: a signal such as SIGSEGV or SIGABRT, or an exit
    HANG = "made no progress"  # and was killed by the supervisor
    FAULT = "broke the protocol"  # and was killed by the supervisor
    KILLED = "was killed from outside"  # SIGKILL that the supervisor did not send: an operator, or the kernel
    STOPPED = "was stopped from outside"  # SIGSTOP; made no progress and was killed by the supervisor


@dataclasses.dataclass(frozen=True, slots=True)
class FatalStep(Generic[K]):
    """The step in which the engine died: its live requests, and the numbers of all, the ended ones too."""

    requests: tuple[K, ...]
    newcomers: tuple[K, ...]
    num_requests: int
    num_newcomers: int


class Suspects(Generic[K]):
    def __init__(self) -> None:
        self.suspected: set[K] = set()  # to be acquitted, if they get past the point of death
        self._num_accusations: collections.Counter[K] = collections.Counter()
        self._num_kills: collections.Counter[K] = collections.Counter()
        self._dangerous_together: set[K] = set()
        self._window: int | None = None

    @property
    def window(self) -> int | None:
        """How many requests may be in the engine together; None: any number."""
        return self._window

    def is_suspect(self, request: K) -> bool:
        return request in self.suspected

    def judge(self, cause: DeathCause, step: FatalStep[K]) -> K | None:
        """Take in a death. Returns the request that is to be set aside for good, if one is found guilty."""
        accused = self._accused(cause, step)
        self.suspected.update(accused)
        self._num_accusations.update(accused)
        if not accused or any(self._num_accusations[request] == 1 for request in accused):
            return None
        if step.num_requests == 1:
            return accused[0]
        self._dangerous_together.update(accused)
        self._window = step.num_requests // 2
        return None

    def _accused(self, cause: DeathCause, step: FatalStep[K]) -> tuple[K, ...]:
        if cause is DeathCause.STOPPED:
            return ()
        if cause is DeathCause.KILLED:
            self._num_kills.update(step.newcomers)
            return tuple(request for request in step.newcomers if self._num_kills[request] >= MAX_KILLS)
        return step.newcomers if step.num_newcomers else step.requests

    def acquit(self, request: K) -> None:
        """The request got past the point of death."""
        self.suspected.discard(request)

    def forget(self, request: K) -> None:
        """The request has ended, for whatever reason."""
        self.suspected.discard(request)
        del self._num_kills[request], self._num_accusations[request]  # a Counter forgives absent keys
        self._dangerous_together.discard(request)
        if not self._dangerous_together:
            self._window = None
