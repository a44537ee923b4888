"""Log-probabilities and token ids as the two APIs write them.

A token is named by its text. Where its bytes are no text by themselves the name is OpenAI's: the bytes in
hexadecimal, \\xe2\\x80 in chats and bytes:\\xe2\\x80 in completions.
"""

import dataclasses
from collections.abc import Sequence

from octavo.core.messages import TokenLogprobs
from octavo.server.token_report import ReportedTokens

ByteTable = Sequence[bytes]


@dataclasses.dataclass(frozen=True, slots=True)
class TokenNames:
    """spelling: by id, the bytes of a token. uses_ids: tokens are called token_id:N instead.
    prefix: of names in hexadecimal.
    """

    spelling: ByteTable
    uses_ids: bool = False
    prefix: str = ""

    def bytes_of(self, token_id: int) -> bytes:
        """Empty for an id that only the model's head has."""
        return self.spelling[token_id] if token_id < len(self.spelling) else b""

    def name(self, token_id: int) -> str:
        if self.uses_ids:
            return f"token_id:{token_id}"
        spelled = self.bytes_of(token_id)
        try:
            return spelled.decode()
        except UnicodeDecodeError:
            return self.prefix + "".join(f"\\x{byte:02x}" for byte in spelled)


@dataclasses.dataclass(frozen=True, slots=True)
class ChatTokens:
    """has_ids: token ids are wanted."""

    names: TokenNames
    has_ids: bool = False

    def fields(self, tokens: ReportedTokens | None) -> dict[str, object]:
        """Of a choice, or of the part of it in one chunk."""
        if tokens is None:
            return {"logprobs": None}
        ids = {"token_ids": tokens.token_ids} if self.has_ids else {}
        return {"logprobs": tokens.logprobs and self._rendered(tokens.token_ids, tokens.logprobs), **ids}

    def _rendered(self, token_ids: list[int], logprobs: TokenLogprobs) -> dict[str, object]:
        tops = zip(logprobs.top_ids, logprobs.top_logprobs, strict=True)
        content = [
            {**self._entry(token_id, logprob), "top_logprobs": list(map(self._entry, *top))}
            for token_id, logprob, top in zip(token_ids, logprobs.logprobs, tops, strict=True)
        ]
        return {"content": content, "refusal": None}

    def _entry(self, token_id: int, logprob: float) -> dict[str, object]:
        spelled = self.names.bytes_of(token_id)
        return {"token": self.names.name(token_id), "logprob": logprob, "bytes": list(spelled)}


@dataclasses.dataclass(frozen=True, slots=True)
class CompletionTokens:
    """Log-probabilities in the older form: lists side by side. Alternatives are by name; the token itself is
    always among them. has_ids: token ids are wanted."""

    names: TokenNames
    has_ids: bool = False

    def fields(self, tokens: ReportedTokens | None) -> dict[str, object]:
        """Of a choice, or of the part of it in one chunk."""
        if tokens is None:
            return {"logprobs": None}
        ids = {"token_ids": tokens.token_ids} if self.has_ids else {}
        return {"logprobs": tokens.logprobs and self._rendered(tokens, tokens.logprobs), **ids}

    def _rendered(self, tokens: ReportedTokens, logprobs: TokenLogprobs) -> dict[str, object]:
        names = [self.names.name(token_id) for token_id in tokens.token_ids]
        tops = zip(logprobs.top_ids, logprobs.top_logprobs, strict=True)
        entries = zip(names, logprobs.logprobs, tops, strict=True)
        return {
            "tokens": names,
            "token_logprobs": logprobs.logprobs,
            "top_logprobs": [self._alternatives(name, logprob, *top) for name, logprob, top in entries],
            "text_offset": tokens.offsets,
        }

    def _alternatives(
        self, name: str, logprob: float, top_ids: list[int], top_logprobs: list[float]
    ) -> dict[str, float]:
        found = {name: logprob}
        for other, value in zip(top_ids, top_logprobs, strict=True):
            found.setdefault(self.names.name(other), value)
        return found
