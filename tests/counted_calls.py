"""What a budget of Python's work is kept in: calls, which no load of the machine changes."""

import sys
from collections.abc import Sequence
from types import FrameType

EVERYWHERE = ("",)


class CountedCalls:
    """While it is entered, counts calls of Python and of C functions by code of files whose path has one of
    places in it."""

    def __init__(self, places: Sequence[str] = EVERYWHERE) -> None:
        self.count = 0
        self._places = places

    def __enter__(self) -> "CountedCalls":
        sys.setprofile(self._observe)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _observe(self, frame: FrameType, event: str, argument: object) -> None:
        if event in ("call", "c_call") and any(place in frame.f_code.co_filename for place in self._places):
            self.count += 1
