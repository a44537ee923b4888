"""Which characters of an answer each of its tokens made, and which tokens have all of theirs sent out.

What is reported of a token leaves with the end of its text: held-back text holds its tokens back.
"""

import collections


class TokenSpans:
    """Spans of tokens in the text before stop strings are cut:

    settled: all of its characters are sent | waiting: some are held back, or its last one is incomplete
    """

    def __init__(self) -> None:
        self._num_characters = 0
        self._waiting: collections.deque[tuple[int, int]] = collections.deque()  # begin, end

    def add(self, num_characters: int, *, is_incomplete: bool) -> None:
        """The next token completed so many characters. is_incomplete: and begun one."""
        begin = self._num_characters
        self._num_characters += num_characters
        self._waiting.append((begin, self._num_characters + is_incomplete))

    def take(self, num_sent: int) -> list[int]:
        """Where each token begins that settled since the last call; num_sent characters are out."""
        begins = []
        while self._waiting and self._waiting[0][1] <= num_sent:
            begins.append(self._waiting.popleft()[0])
        return begins

    def take_rest(self, num_sent: int) -> list[int]:
        """All others, when no text will follow. Those of a stop string begin where the text ends."""
        begins = [min(begin, num_sent) for begin, _ in self._waiting]
        self._waiting.clear()
        return begins
