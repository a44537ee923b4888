"""POST /v1/completions: raw prompts, no chat template. Several prompts are answered as so many choices."""

from collections.abc import Sequence

import msgspec

from octavo.core.request import FinishReason
from octavo.server.decoder import BodyDecoder
from octavo.server.dialect import Envelope, WholeChoice
from octavo.server.parameters import Api, parameters_of
from octavo.server.prompts import PromptEncoder
from octavo.server.schema import CompletionRequest, Usage

_KIND = "text_completion"  # of whole answers and of chunks alike


class CompletionDialect:
    id_prefix = "cmpl-"
    default_max_tokens = 16  # OpenAI's

    def __init__(self, *, allows_unknown: bool = False) -> None:
        parameters = parameters_of(Api.COMPLETIONS)
        self.decoder = BodyDecoder(CompletionRequest, parameters, allows_unknown=allows_unknown)

    async def encode(self, request: CompletionRequest, prompts: PromptEncoder) -> list[list[int]]:
        return await prompts.encode_prompts(request.prompt)

    def format(self, envelope: Envelope) -> "CompletionFormat":
        return CompletionFormat(envelope)


class CompletionFormat:
    """A chunk is head + index + text + tail; all but the text is rendered once per answer."""

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope
        self._head = envelope.head(_KIND) + b',"choices":[{"index":'
        self._tail = b',"logprobs":null,"finish_reason":null}]' + envelope.tail

    def opening(self, index: int) -> bytes:
        return b""

    def text(self, index: int, text: str) -> bytes:
        return b'%b%d,"text":%b%b' % (self._head, index, msgspec.json.encode(text), self._tail)

    def ending(self, index: int, finish_reason: FinishReason) -> bytes:
        reason = finish_reason.value.encode()
        return b'%b%d,"text":"","logprobs":null,"finish_reason":"%b"}]%b' % (
            self._head,
            index,
            reason,
            self._envelope.tail,
        )

    def usage(self, usage: Usage) -> bytes:
        return self._envelope.usage_chunk(_KIND, usage)

    def whole(self, choices: Sequence[WholeChoice], usage: Usage) -> bytes:
        return msgspec.json.encode(
            {
                "id": self._envelope.id,
                "object": _KIND,
                "created": self._envelope.created,
                "model": self._envelope.model,
                "system_fingerprint": self._envelope.system_fingerprint,
                "choices": [
                    {
                        "index": choice.index,
                        "text": choice.text,
                        "logprobs": None,
                        "finish_reason": choice.finish_reason.value,
                    }
                    for choice in choices
                ],
                "usage": usage,
            }
        )
