"""How many tokens of an answer are reasoning: a function of the tokens, whoever generated them.

The engine holds reasoning to a budget by it, the server counts for the usage.
"""

import enum
from collections.abc import Sequence

from octavo.text.marks import BLANKS
from octavo.text.reasoning import ReasoningTags

_BLANK_BYTES = BLANKS.encode()


class _Place(enum.Enum):
    BEGIN, REASONING, ANSWER = range(3)


class ReasoningMeter:
    """Tells reasoning from the answer where ReasoningSplitter does, token by token.

    num_tokens counts those behind the opening tag and before the closing tag begins, white space included.
    """

    def __init__(self, tags: ReasoningTags, token_bytes: Sequence[bytes], *, is_open: bool) -> None:
        """token_bytes: of the vocabulary, by id. is_open: the prompt has opened the reasoning."""
        self._opening, self._closing = tags.opening.encode(), tags.closing.encode()
        self._token_bytes = token_bytes
        self._is_open = is_open
        self._place = _Place.BEGIN
        self._head = b""  # what may be the opening
        self._tail = b""  # what may be a part of the closing
        self._starts: list[int] = []  # of tokens, in the tail
        self.num_tokens = 0

    @property
    def is_reasoning(self) -> bool:
        """What comes next is reasoning, if it does not end it."""
        return self._place is _Place.REASONING or (self._place is _Place.BEGIN and self._is_open)

    @property
    def is_within_character(self) -> bool:
        """The last token of the reasoning ends with the beginning of a UTF-8 sequence."""
        for num_bytes, byte in enumerate(reversed(self._tail[-3:]), start=1):
            if byte & 0xC0 != 0x80:  # not in the middle of a sequence: its first byte tells its length
                return num_bytes < (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0) + 1
        return False

    def push(self, token_ids: Sequence[int]) -> None:
        for token_id in token_ids:
            if self._place is _Place.ANSWER:
                return
            piece = self._token_bytes[token_id] if token_id < len(self._token_bytes) else b""
            if self._place is _Place.BEGIN:
                self._begin(piece)
            else:
                self._reason(piece)

    def _begin(self, piece: bytes) -> None:
        self._head = (self._head + piece).lstrip(_BLANK_BYTES)
        if self._is_open:
            self._reason(piece)
        if self._head.startswith(self._opening):
            self._place, self._tail, self._starts, self.num_tokens = _Place.REASONING, b"", [], 0
            if rest := self._head[len(self._opening) :]:
                self._reason(rest)
        elif self._place is _Place.BEGIN and not self._opening.startswith(self._head):
            self._place = _Place.REASONING if self._is_open else _Place.ANSWER

    def _reason(self, piece: bytes) -> None:
        self.num_tokens += 1
        self._starts.append(len(self._tail))
        self._tail += piece
        end = self._tail.find(self._closing)
        if end >= 0:
            self._place = _Place.ANSWER
            self.num_tokens -= sum(start >= end for start in self._starts)
            return
        excess = max(0, len(self._tail) - len(self._closing) + 1)
        self._tail = self._tail[excess:]
        self._starts = [start - excess for start in self._starts if start >= excess]
