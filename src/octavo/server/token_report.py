"""What an answer tells of its tokens besides their text: ids and log-probabilities, as their text leaves.

A pure function of the tokens and their logprobs, whatever the chunks: another replica can go on with it.
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from octavo.core.messages import TokenLogprobs
from octavo.http.errors import HttpError
from octavo.text.text_stream import TextStream


@dataclasses.dataclass(slots=True)
class ReportedTokens:
    """Consecutive tokens of an answer. offsets: the character of the answer that each begins in."""

    token_ids: list[int] = dataclasses.field(default_factory=list)
    offsets: list[int] = dataclasses.field(default_factory=list)
    logprobs: TokenLogprobs | None = None

    def __len__(self) -> int:
        return len(self.token_ids)

    def extend(self, other: "ReportedTokens") -> None:
        self.token_ids += other.token_ids
        self.offsets += other.offsets
        if self.logprobs is None or other.logprobs is None:
            self.logprobs = self.logprobs or other.logprobs
        else:
            self.logprobs.extend(other.logprobs)


class TokenReport(Protocol):
    @property
    def is_asked_for(self) -> bool:
        """If not, nobody need add or take."""
        ...

    @property
    def held_logprobs(self) -> TokenLogprobs | None:
        """Of tokens that are not taken yet: what another replica cannot compute from their ids."""
        ...

    def add(self, token_ids: Sequence[int], logprobs: TokenLogprobs | None) -> None:
        """The text stream has got these tokens."""
        ...

    def take(self) -> ReportedTokens | None:
        """Those whose text is out and that were not taken yet; None where nobody asked for them."""
        ...

    def take_up(self, token_ids: Sequence[int], held_logprobs: TokenLogprobs | None) -> None:
        """The text stream has got tokens that another replica generated, and reported as far as it could.

        Raises HttpError if the logprobs are not those of the tokens that are left.
        """
        ...


class NoReport:
    """Of a request that asks for text only."""

    is_asked_for = False
    held_logprobs = None

    def add(self, token_ids: Sequence[int], logprobs: TokenLogprobs | None) -> None:
        pass

    def take(self) -> None:
        return None

    def take_up(self, token_ids: Sequence[int], held_logprobs: TokenLogprobs | None) -> None:
        pass


class FullReport:
    """Tokens wait here for their text."""

    is_asked_for = True

    def __init__(self, text: TextStream, *, has_logprobs: bool) -> None:
        text.track_tokens()
        self._text = text
        self._token_ids: list[int] = []
        self._logprobs = TokenLogprobs() if has_logprobs else None

    @property
    def held_logprobs(self) -> TokenLogprobs | None:
        return self._logprobs or None

    def add(self, token_ids: Sequence[int], logprobs: TokenLogprobs | None) -> None:
        self._token_ids += token_ids
        if self._logprobs is not None and logprobs is not None:
            self._logprobs.extend(logprobs)

    def take(self) -> ReportedTokens:
        offsets = self._text.take_settled()
        count = len(offsets)
        taken = ReportedTokens(self._token_ids[:count], offsets)
        del self._token_ids[:count]
        if self._logprobs is not None:
            taken.logprobs, self._logprobs = self._logprobs.first(count), self._logprobs.beyond(count)
        return taken

    def take_up(self, token_ids: Sequence[int], held_logprobs: TokenLogprobs | None) -> None:
        self._token_ids += token_ids[len(self._text.take_settled()) :]
        if self._logprobs is None:
            return
        self._logprobs = held_logprobs or TokenLogprobs()
        if len(self._logprobs) != len(self._token_ids):
            raise HttpError(
                "resume_mismatch",
                f"There are logprobs of {len(self._logprobs)} tokens whose text was held back; "
                f"here that of {len(self._token_ids)} is.",
            )


def new_report(text: TextStream, *, has_logprobs: bool, has_ids: bool) -> TokenReport:
    """On the tokens that text, a stream that has none yet, will get."""
    return FullReport(text, has_logprobs=has_logprobs) if has_logprobs or has_ids else NoReport()
