"""Finds a mark, such as <tool_call> or </think>, in a growing text."""

BLANKS = " \t\r\n"  # JSON's white space


class MarkSearch:
    """Lets text through up to the first mark. White space in front of a mark belongs to the mark.

        let through so far | held back: white space, then what may become the mark | not seen yet

    What push has returned depends on the text so far alone, not on how it was cut. Looks at each character
    a number of times that the mark's length bounds.
    """

    def __init__(self, mark: str) -> None:
        """An empty mark is never found."""
        self._mark = mark
        self._blanks: list[str] = []
        self._partial = ""  # of the mark
        self.rest: str | None = None  # what follows the mark in what was pushed; None: not found yet

    def push(self, text: str) -> str:
        """The text that is now known to be no part of a mark. Not to be called once the mark is found."""
        assert self.rest is None
        text = self._partial + text
        self._partial = ""
        position = text.find(self._mark) if self._mark else -1
        if position >= 0:
            self.rest = text[position + len(self._mark) :]
            text = text[:position]
        elif self._mark:
            self._partial = _partial_mark(text, self._mark)
            text = text[: len(text) - len(self._partial)]
        safe = text.rstrip(BLANKS)
        if safe:
            self._blanks.append(safe)
            safe = "".join(self._blanks)
            self._blanks = []
        self._blanks.append(text[len(text.rstrip(BLANKS)) :])
        return safe

    def flush(self) -> str:
        """What was held back; with a mark that was found, the mark and the white space before it."""
        held = "".join(self._blanks) + (self._partial if self.rest is None else self._mark)
        self._blanks, self._partial = [], ""
        return held


def _partial_mark(text: str, mark: str) -> str:
    """The longest end of text that begins the mark, short of all of it."""
    lengths = range(min(len(mark) - 1, len(text)), 0, -1)
    return next((mark[:length] for length in lengths if text.endswith(mark[:length])), "")
