"""Drafts from what a sequence holds already: quotations, code that is edited, lists, loops."""

from array import array

NGRAM = 3  # tokens that must have stood there before
_BYTES = array("i").itemsize


class PromptLookup:
    """Guesses that what followed the last time the sequence had its present last tokens follows again.

    A Drafter. It keeps the sequence as bytes, four a token: to search those is quicker than to keep an index
    of thousands of tokens of which few are ever asked for.
    """

    def __init__(self) -> None:
        self._history = bytearray()

    def propose(self, token_ids: list[int], most: int) -> list[int]:
        """Where the copy reaches the end of the sequence it goes on in itself, as a loop does."""
        num_known = len(self._history) // _BYTES
        self._history += array("i", token_ids[num_known:])
        start = self._find(len(token_ids))
        if start is None:
            return []
        period = len(token_ids) - start
        return [token_ids[start + i % period] for i in range(most)]

    def _find(self, num_tokens: int) -> int | None:
        """Index of the token that followed the last tokens when they were there before."""
        if num_tokens <= NGRAM:
            return None
        last_tokens = self._history[-NGRAM * _BYTES :]
        end = (num_tokens - 1) * _BYTES
        while (at := self._history.rfind(last_tokens, 0, end)) >= 0:
            if at % _BYTES == 0:
                return at // _BYTES + NGRAM
            end = at + len(last_tokens) - 1
        return None
