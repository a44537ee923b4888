"""What a client has received, as a pure function of the tokens so far: text, and where a stop string cut it.

After an engine's death the server computes it anew from the tokens it kept, and sends what lies beyond the
mark.
"""

from collections.abc import Sequence

from octavo.text.detokenizer import Detokenizer
from octavo.text.stop import StopMatcher


class TextStream:
    """The text of one answer: token ids in, text that may be sent out.

    A stop string counts once min_tokens tokens are generated: one that an earlier token completes is text.
    """

    def __init__(self, detokenizer: Detokenizer, stop: Sequence[str] = (), *, min_tokens: int = 0) -> None:
        self._detokenizer = detokenizer
        self._matcher = StopMatcher(stop)
        self._has_stop = bool(stop)
        self._min_tokens = min_tokens
        self.num_tokens = 0  # that make up the answer; the last one may have completed a stop string

    @property
    def is_stopped(self) -> bool:
        return self._matcher.matched is not None

    @property
    def stop_string(self) -> str | None:
        """The stop string that ended the answer."""
        return self._matcher.matched

    def push(self, token_ids: Sequence[int]) -> str:
        """The text these tokens add. Tokens after a stop string are ignored."""
        if not self._has_stop:
            self.num_tokens += len(token_ids)
            return self._detokenizer.push(token_ids)
        sent = []
        for token_id in token_ids:  # one by one, so that num_tokens says which one completed a stop string
            if self.is_stopped:
                break
            self.num_tokens += 1
            text = self._detokenizer.push((token_id,))
            sent.append(self._matcher.push(text, can_match=self.num_tokens >= self._min_tokens))
        return "".join(sent)

    def finish(self) -> str:
        """The rest, when no token will follow."""
        if self.is_stopped:
            return ""
        text = self._matcher.push(self._detokenizer.flush(), can_match=self.num_tokens >= self._min_tokens)
        return text + self._matcher.flush()
