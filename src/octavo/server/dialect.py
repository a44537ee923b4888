"""What tells the chat API from the completions API: the body it takes and the JSON it answers with."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from octavo.core.grammar_spec import GrammarSpec
from octavo.core.messages import TokenLogprobs
from octavo.core.request import FinishReason
from octavo.server.decoder import BodyDecoder
from octavo.server.explanation import Explanation
from octavo.server.prompts import PromptEncoder
from octavo.server.schema import GenerationRequest, Usage
from octavo.server.token_report import ReportedTokens
from octavo.text.reasoning_meter import ReasoningMeter

Request = TypeVar("Request", bound=GenerationRequest)

DONE = b"data: [DONE]\n\n"
_NO_USAGE = b',"usage":null}\n\n'


@dataclasses.dataclass(frozen=True, slots=True)
class Envelope:
    """What every chunk of one answer repeats."""

    id: str
    created: int  # unix seconds
    model: str
    system_fingerprint: str
    includes_usage: bool

    def head(self, kind: str) -> bytes:
        """The beginning of a chunk of this kind, up to its choices."""
        return b"data: " + msgspec.json.encode(self._fields(kind))[:-1]

    def _fields(self, kind: str) -> dict[str, object]:
        """kind: its `object`."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.system_fingerprint,
        }

    @property
    def tail(self) -> bytes:
        """The end of a chunk, after its choices. A client that wants usage finds the field in every chunk."""
        return _NO_USAGE if self.includes_usage else b"}\n\n"

    def last_chunk(self, kind: str, usage: Usage | None, explanation: Explanation | None) -> bytes:
        """Without choices, for a client that asked for either."""
        fields: dict[str, object] = {} if usage is None else {"usage": usage}
        if explanation is not None:
            fields["octavo"] = explanation
        return self.head(kind) + b',"choices":[],' + msgspec.json.encode(fields)[1:] + b"\n\n"

    def whole(
        self,
        kind: str,
        choices: Iterable[Mapping[str, object]],
        usage: Usage,
        explanation: Explanation | None,
        **more: object,
    ) -> bytes:
        """An answer that is no stream. A choice takes many times its JSON's room, so each goes at once."""
        fields = self._fields(kind)
        fields["choices"] = [msgspec.Raw(msgspec.json.encode(choice)) for choice in choices]
        fields["usage"] = usage
        if explanation is not None:
            fields["octavo"] = explanation
        return msgspec.json.encode({**fields, **more})


def with_usage(chunks: bytes, usage: Usage) -> bytes:
    """Chunks that end with no usage, with this one. Line ends are nowhere else in them."""
    return chunks.replace(_NO_USAGE, b',"usage":' + msgspec.json.encode(usage) + b"}\n\n")


@dataclasses.dataclass(frozen=True, slots=True)
class WholeChoice:
    index: int
    text: str
    finish_reason: FinishReason
    tokens: ReportedTokens | None = None
    prompt_logprobs: TokenLogprobs | None = None

    @property
    def num_told(self) -> int:
        """Tokens of which more than the text is told."""
        return len(self.tokens or ()) + len(self.prompt_logprobs or ())


class Format(Protocol):
    """Renders one answer, as a whole or in chunks: server-sent events, ready to be sent."""

    def opening(self, index: int, prompt_logprobs: TokenLogprobs | None = None) -> bytes:
        """Before the first text of a choice; may be empty."""
        ...

    def text(self, index: int, text: str, tokens: ReportedTokens | None = None) -> bytes: ...

    def take_up(self, index: int, text: str) -> None:
        """The client has what this text came to, from another replica."""
        ...

    def ending(self, index: int, finish_reason: FinishReason) -> bytes: ...

    def last(self, usage: Usage | None, explanation: Explanation | None) -> bytes:
        """The last chunk; one of the two is there."""
        ...

    def whole(self, choices: Sequence[WholeChoice], usage: Usage, explanation: Explanation | None) -> bytes:
        """The answer to a request that is not streamed. May be called in a thread."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Encoded:
    """What a request comes to: prompts of as many choices, and how these are rendered."""

    prompts: list[list[int]]
    new_format: Callable[[Envelope], Format]
    shown_ids: frozenset[int] = frozenset()  # control tokens that the format wants to see in the text
    grammar: GrammarSpec | None = None  # what the answer must look like
    new_meter: Callable[[], ReasoningMeter] | None = None  # of an answer that may begin with reasoning


class Dialect(Protocol[Request]):
    @property
    def decoder(self) -> BodyDecoder[Request]: ...

    @property
    def id_prefix(self) -> str: ...

    @property
    def default_max_tokens(self) -> int | None:
        """None: the rest of the context."""
        ...

    async def encode(self, request: Request, prompts: PromptEncoder) -> Encoded:
        """Raises InvalidRequestError."""
        ...
