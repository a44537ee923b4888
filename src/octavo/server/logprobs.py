"""Log-probabilities and token ids as the two APIs write them.

A token is named by its text. Where its bytes are no text by themselves the name is OpenAI's: the bytes in
hexadecimal, \\xe2\\x80 in chats and bytes:\\xe2\\x80 in completions.
"""

import dataclasses
from collections.abc import Sequence

from octavo.core.messages import TokenLogprobs
from octavo.server.echo import PromptEcho
from octavo.server.token_report import ReportedTokens

ByteTable = Sequence[bytes]
Lists = dict[str, list[object]]  # of the older form of logprobs, by name


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
        return {"logprobs": self._rendered(tokens.token_ids, tokens.logprobs), **ids}

    def _rendered(self, token_ids: list[int], logprobs: TokenLogprobs | None) -> dict[str, object] | None:
        if logprobs is None:
            return None
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

    def fields(
        self, tokens: ReportedTokens | None, *, num_echoed: int = 0, echo: Lists | None = None
    ) -> dict[str, object]:
        """Of a choice, or of the part of it in one chunk. num_echoed: characters in front of the answer;
        echo: the logprobs of a prompt that is repeated in the same place."""
        if tokens is None:
            return {"logprobs": None}
        ids = {"token_ids": tokens.token_ids} if self.has_ids else {}
        if tokens.logprobs is None:
            return {"logprobs": None, **ids}
        offsets = [num_echoed + offset for offset in tokens.offsets]
        lists = self._rendered(tokens.token_ids, tokens.logprobs, offsets)
        if echo is not None:
            lists = {name: echo[name] + values for name, values in lists.items()}
        return {"logprobs": lists, **ids}

    def of_prompt(self, echo: PromptEcho, logprobs: TokenLogprobs) -> Lists:
        """logprobs: of all tokens but the first, which has none."""
        lists = self._rendered(echo.token_ids[1:], logprobs, echo.offsets[1:])
        first = {
            "tokens": self.names.name(echo.token_ids[0]),
            "token_logprobs": None,
            "top_logprobs": None,
            "text_offset": 0,
        }
        return {name: [first[name], *values] for name, values in lists.items()}

    def _rendered(self, token_ids: list[int], logprobs: TokenLogprobs, offsets: list[int]) -> Lists:
        names = [self.names.name(token_id) for token_id in token_ids]
        tops = zip(logprobs.top_ids, logprobs.top_logprobs, strict=True)
        entries = zip(names, logprobs.logprobs, tops, strict=True)
        return {
            "tokens": list[object](names),
            "token_logprobs": list[object](logprobs.logprobs),
            "top_logprobs": [self._alternatives(name, logprob, *top) for name, logprob, top in entries],
            "text_offset": list[object](offsets),
        }

    def _alternatives(
        self, name: str, logprob: float, top_ids: list[int], top_logprobs: list[float]
    ) -> dict[str, float]:
        found = {name: logprob}
        for other, value in zip(top_ids, top_logprobs, strict=True):
            found.setdefault(self.names.name(other), value)
        return found


def prompt_logprobs(
    names: TokenNames, token_ids: Sequence[int], logprobs: TokenLogprobs
) -> list[dict[str, object] | None]:
    """vLLM's form: for each prompt token (null for the first) by id, itself and its alternatives."""
    entries: list[dict[str, object] | None] = [None]
    tops = zip(logprobs.top_ids, logprobs.top_logprobs, strict=True)
    for token_id, logprob, rank, (top_ids, values) in zip(
        token_ids[1:], logprobs.logprobs, logprobs.ranks, tops, strict=True
    ):
        found = {token_id: (logprob, rank)}
        for place, pair in enumerate(zip(top_ids, values, strict=True), 1):
            found.setdefault(pair[0], (pair[1], place))
        entries.append(
            {
                str(key): {"logprob": value, "rank": place, "decoded_token": names.name(key)}
                for key, (value, place) in found.items()
            }
        )
    return entries
