"""What a client has received, as a pure function of the tokens so far: text, and where a stop string cut it.

After an engine's death the server computes it anew from the tokens it kept, and sends what lies beyond the
mark.
"""

from collections.abc import Sequence

from octavo.text.detokenizer import Detokenizer
from octavo.text.stop import StopMatcher
from octavo.text.token_spans import TokenSpans


class TextStream:
    """The text of one answer: token ids in, text that may be sent out.

    A stop string counts once min_tokens tokens are generated: one that an earlier token completes is text.
    """

    def __init__(
        self,
        detokenizer: Detokenizer,
        stop: Sequence[str] = (),
        *,
        min_tokens: int = 0,
        keeps_stop: bool = False,
    ) -> None:
        """keeps_stop: the stop string that ends the answer is part of it."""
        self._detokenizer = detokenizer
        self._matcher = StopMatcher(stop, is_kept=keeps_stop)
        self._has_stop = bool(stop)
        self._min_tokens = min_tokens
        self.is_stopped = False  # by a stop string
        self.num_tokens = 0  # that make up the answer; the last one may have completed a stop string
        self._num_sent = 0  # characters
        self._is_finished = False
        self._spans: TokenSpans | None = None

    @property
    def stop_string(self) -> str | None:
        """The stop string that ended the answer."""
        return self._matcher.matched

    def push(self, token_ids: Sequence[int]) -> str:
        """The text these tokens add. Tokens after a stop string are ignored."""
        if not self._has_stop and self._spans is None:
            self.num_tokens += len(token_ids)
            return self._detokenizer.push(token_ids)
        sent = []
        for token_id in token_ids:  # one by one, so that num_tokens says which one completed a stop string
            if self.is_stopped:
                break
            self.num_tokens += 1
            text = self._detokenizer.push((token_id,))
            if self._spans is not None:
                self._spans.add(len(text), is_incomplete=self._detokenizer.is_inside_a_character)
            sent.append(self._match(text))
        return self._sent("".join(sent))

    def finish(self) -> str:
        """The rest, when no token will follow."""
        self._is_finished = True
        if self.is_stopped:
            return ""
        text = self._match(self._detokenizer.flush())
        return self._sent(text + self._matcher.flush())

    def _match(self, text: str) -> str:
        """What of it is no stop string, and cannot become one."""
        safe = self._matcher.push(text, can_match=self.num_tokens >= self._min_tokens)
        self.is_stopped = self._matcher.matched is not None
        return safe

    def track_tokens(self) -> None:
        """From the first token on, keep what take_settled() tells."""
        self._spans = TokenSpans()

    def take_settled(self) -> list[int]:
        """An entry for each token of the answer, in order, once its text is out: the character of the answer
        it begins in. Only what is new since the last call."""
        if self._spans is None:
            return []
        if self.is_stopped or self._is_finished:
            return self._spans.take_rest(self._num_sent)
        return self._spans.take(self._num_sent)

    def _sent(self, text: str) -> str:
        self._num_sent += len(text)
        return text
