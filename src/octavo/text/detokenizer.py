"""Token ids to text, as they come: bytes that do not yet make a character are held back."""

import codecs
from collections.abc import Sequence

from octavo.text.vocabulary import Vocabulary

_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


class Detokenizer:
    """One answer's text: whatever the chunking, what push and flush return adds up to the same.

    Control tokens other than shown_ids have no text unless skip_control is False. Ids outside the vocabulary
    have none: a model's head may be wider than its tokenizer.
    """

    def __init__(
        self, vocabulary: Vocabulary, *, skip_control: bool = True, shown_ids: frozenset[int] = frozenset()
    ) -> None:
        self._table = vocabulary.token_bytes
        self._skipped = vocabulary.control_ids - shown_ids if skip_control else frozenset()
        self._decoder = _Utf8Decoder(errors="replace")
        self.is_inside_a_character = False  # bytes are held back

    def push(self, token_ids: Sequence[int]) -> str:
        table, skipped = self._table, self._skipped
        if len(token_ids) == 1 and not self.is_inside_a_character:
            token_id = token_ids[0]
            if token_id in skipped or token_id >= len(table):
                return ""
            try:
                return table[token_id].decode()
            except UnicodeDecodeError:  # a character begins
                pass
        spelled = [table[i] for i in token_ids if i not in skipped and i < len(table)]
        text = self._decoder.decode(b"".join(spelled))
        self.is_inside_a_character = bool(self._decoder.getstate()[0])
        return text

    def flush(self) -> str:
        """The held-back bytes at the end of the answer: U+FFFD, since no character came of them."""
        self.is_inside_a_character = False
        return self._decoder.decode(b"", final=True)
