"""Requests that may be what stopped the engine (engine/suspects.py), tried one by one, so that
nobody else dies with them.

Runs in the engine process. One at a time is let in. It computes its prompt in steps that it shares with no
one, which alternate with those of the others; when it has a token it is one of them.
"""

from octavo.core.request import Request
from octavo.core.waiting_queue import WaitingQueue


class Trials:
    def __init__(self) -> None:
        self._waiting = WaitingQueue[Request]()
        self._tried: Request | None = None  # it is running
        self._had_last_step = False

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
        return self._waiting.peek() if self._tried is None and self._waiting else None

    def begin(self) -> Request:
        """The next one is let in."""
        assert self._tried is None
        self._tried = self._waiting.pop()
        return self._tried

    @property
    def is_turn_of_others(self) -> bool:
        """To compute something in this step; what they leave free is the suspect's."""
        return self._tried is None or self._had_last_step

    def take_step(self, *, is_free: bool) -> Request | None:
        """Whose step it is alone; None: the others', or nobody's. Once for each step."""
        self._had_last_step = is_free and self._tried is not None
        return self._tried if self._had_last_step else None

    def acquit(self, suspect: Request) -> None:
        """It has a token."""
        suspect.is_suspect = False
        self.end(suspect)

    def end(self, request: Request) -> None:
        """It runs no more; also of those who are not tried."""
        if self._tried is request:
            self._tried = None
