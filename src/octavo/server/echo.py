"""A prompt as its answer repeats it."""

import dataclasses

from octavo.text.detokenizer import Detokenizer
from octavo.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True, slots=True)
class PromptEcho:
    """offsets: the character of text that each token begins in."""

    text: str
    token_ids: list[int]
    offsets: list[int]

    @classmethod
    def of(cls, text: str | None, token_ids: list[int], tokenizer: Tokenizer) -> "PromptEcho":
        """text: the prompt as the client sent it; None: it is spelled, control tokens by their names."""
        if text is None:
            text = tokenizer.decode(token_ids, skip_control=False)
        detokenizer = Detokenizer(tokenizer.vocabulary, skip_control=False)
        begins, end = [], 0
        for token_id in token_ids:
            begins.append(end)
            end += len(detokenizer.push((token_id,)))
        num_added = end + len(detokenizer.flush()) - len(text)  # in front: a begin token, a space
        return cls(text, token_ids, [min(max(begin - num_added, 0), len(text)) for begin in begins])
