"""Finds a mark, such as <tool_call> or </think>, in a growing text."""

import re
from collections.abc import Sequence

BLANKS = " \t\r\n"  # JSON's white space


class MarkSearch:
    """Lets text through up to the first of several marks. White space in front of a mark belongs to the mark.

        let through so far | held back: white space, then what may become a mark | not seen yet

    What push has returned depends on the text so far alone, not on how it was cut. Looks at each character
    a number of times that the mark's length bounds.
    """

    def __init__(self, marks: Sequence[str]) -> None:
        """None of them empty, nor the beginning of another. Without any, nothing is found."""
        self._marks = marks
        self._pattern = re.compile("|".join(map(re.escape, marks)) or r"(?!)")
        self._blanks: list[str] = []
        self._partial = ""  # of a mark
        self.mark: str | None = None  # the one found
        self.rest = ""  # what follows it in what was pushed

    def push(self, text: str) -> str:
        """The text that is now known to be no part of a mark. Not to be called once one is found."""
        assert self.mark is None
        text = self._partial + text
        self._partial = ""
        found = self._pattern.search(text)
        if found is not None:
            self.mark, self.rest = found[0], text[found.end() :]
            text = text[: found.start()]
        else:
            self._partial = max((_partial_mark(text, mark) for mark in self._marks), key=len, default="")
            text = text[: len(text) - len(self._partial)]
        safe = text.rstrip(BLANKS)
        if safe:
            self._blanks.append(safe)
            safe = "".join(self._blanks)
            self._blanks = []
        self._blanks.append(text[len(text.rstrip(BLANKS)) :])
        return safe

    def flush(self) -> str:
        """What was held back; if a mark was found, it and the white space before it."""
        held = "".join(self._blanks) + (self.mark or self._partial)
        self._blanks, self._partial = [], ""
        return held


def _partial_mark(text: str, mark: str) -> str:
    """The longest end of text that begins the mark, short of all of it."""
    lengths = range(min(len(mark) - 1, len(text)), 0, -1)
    return next((mark[:length] for length in lengths if text.endswith(mark[:length])), "")
