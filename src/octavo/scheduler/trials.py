"""Requests that may be what stopped the engine (engine/suspects.py), tried one by one, so that
nobody else dies with them.

Runs in the engine process. One at a time is let in. It computes its prompt in steps that it shares with no
one, which alternate with those of the others; when it has a token it is one of them.
"""

from octavo.core.request import Request
from octavo.core.waiting_queue import WaitingQueue


class Trials:
    """tried: the one that runs. is_turn_of_others: the next step is theirs, if they compute something."""

    def __init__(self) -> None:
        self.tried: Request | None = None
        self.is_turn_of_others = False
        self._waiting = WaitingQueue[Request]()

    def __len__(self) -> int:
        """How many wait for theirs."""
        return len(self._waiting)

    def push(self, suspect: Request) -> None:
        self._waiting.push(suspect)

    def remove(self, suspect: Request) -> bool:
        """Returns whether the suspect was waiting here."""
        return self._waiting.remove(suspect)

    def next(self) -> Request | None:
        """Who may be let in now. Until that has happened nobody else may be."""
        return self._waiting.peek() if self.tried is None and self._waiting else None

    def begin(self) -> Request:
        """The next one is let in."""
        assert self.tried is None
        self.tried = self._waiting.pop()
        return self.tried

    def acquit(self, suspect: Request) -> None:
        """It has a token."""
        suspect.is_suspect = False
        self.end(suspect)

    def end(self, request: Request) -> None:
        """It runs no more; also of those who are not tried."""
        if self.tried is request:
            self.tried = None
