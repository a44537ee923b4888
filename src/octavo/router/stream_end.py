"""Whether an event stream has come to its end, by what its API sends last.

HTTP does not tell: an answer that names no length ends with its connection, whatever ended that, and a proxy
that lost its server may end one properly. Knows nothing of routing.
"""

_SPLIT_BYTES = 64  # of what has been seen: what is looked for may come in two pieces
_FINISH = b'"finish_reason"'
_FINISH_BYTES = len(_FINISH)
# Inside of a JSON string there is neither a line's beginning nor a plain quotation mark. First what must be
# there, which is looked for at each event.
_DONE = (b"[DONE]", (b"\ndata: [DONE]", b"\ndata:[DONE]"))
_RESPONSE = (b'"response.completed"', b'"response.failed"', b'"response.incomplete"')
_LAST_WORDS = {
    "/v1/responses": (b'"response.', _RESPONSE),
    "/v1/messages": (b'"message_stop"', (b'"message_stop"',)),
    "/v1/chat/completions": _DONE,
    "/v1/completions": _DONE,
}
_ERRORS = (b'\ndata: {"error"', b'\ndata:{"error"', b"\nevent: error", b"\nevent:error", b"\nerror:")


class StreamEnd:
    """Of one stream. OpenAI's end with [DONE]; of servers that leave it out the last choice has to have a
    finish reason. An error event is an end, too."""

    __slots__ = ("_hint", "_is_finished", "_last_words", "_seen", "has_last_words", "is_error")

    def __init__(self, path: str) -> None:
        """path: of the request. Of one that is not known any end is right."""
        self._hint, self._last_words = _LAST_WORDS.get(path, (b"[DONE]", ()))
        self._seen = b"\n"
        self.has_last_words = False  # nothing can follow
        self._is_finished = False
        self.is_error = False

    @property
    def has_come(self) -> bool:
        """Nothing need follow."""
        return self.has_last_words or self._is_finished or self.is_error or not self._last_words

    def see(self, data: bytes) -> None:
        """The next piece of it. Called for each; find() takes a third of what `in` does."""
        seen = self._seen + data
        self._seen = b"\n" if seen[-2:] == b"\n\n" else seen[-_SPLIT_BYTES:]  # nothing is in two events
        if seen.find(self._hint) >= 0:
            self.has_last_words = self.has_last_words or any(words in seen for words in self._last_words)
        if seen.find(b"error") >= 0:
            self.is_error = self.is_error or any(words in seen for words in _ERRORS)
        at = seen.rfind(_FINISH)
        if at >= 0:
            reason = seen[at + _FINISH_BYTES : at + _FINISH_BYTES + 8]
            self._is_finished = reason[:5] != b":null" and _is_reason(reason.lstrip(b" :"))


def _is_reason(value: bytes) -> bool:
    """Its beginning. Some servers say "" for null."""
    return value[:1] == b'"' and value[1:2].isalpha()
