"""POST /v1/chat/completions, as OpenAI defines it."""

from collections.abc import Sequence

import msgspec

from octavo.core.request import FinishReason
from octavo.server.decoder import BodyDecoder
from octavo.server.dialect import Envelope, WholeChoice
from octavo.server.messages import conversation
from octavo.server.parameters import Api, parameters_of
from octavo.server.prompts import PromptEncoder
from octavo.server.schema import ChatRequest, Usage

_CHUNK = "chat.completion.chunk"


class ChatDialect:
    id_prefix = "chatcmpl-"
    default_max_tokens = None

    def __init__(self, *, allows_unknown: bool = False) -> None:
        self.decoder = BodyDecoder(ChatRequest, parameters_of(Api.CHAT), allows_unknown=allows_unknown)

    async def encode(self, request: ChatRequest, prompts: PromptEncoder) -> list[list[int]]:
        return [await prompts.encode_chat(conversation(request.messages))]

    def format(self, envelope: Envelope) -> "ChatFormat":
        return ChatFormat(envelope)


class ChatFormat:
    """A chunk is head + index + delta + tail; all but the delta's text is rendered once per answer."""

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope
        self._head = envelope.head(_CHUNK) + b',"choices":[{"index":'
        self._tail = b'},"logprobs":null,"finish_reason":null}]' + envelope.tail

    def opening(self, index: int) -> bytes:
        return b'%b%d,"delta":{"role":"assistant","content":""%b' % (self._head, index, self._tail)

    def text(self, index: int, text: str) -> bytes:
        return b'%b%d,"delta":{"content":%b%b' % (self._head, index, msgspec.json.encode(text), self._tail)

    def ending(self, index: int, finish_reason: FinishReason) -> bytes:
        reason = finish_reason.value.encode()
        return b'%b%d,"delta":{},"logprobs":null,"finish_reason":"%b"}]%b' % (
            self._head,
            index,
            reason,
            self._envelope.tail,
        )

    def usage(self, usage: Usage) -> bytes:
        return self._envelope.usage_chunk(_CHUNK, usage)

    def whole(self, choices: Sequence[WholeChoice], usage: Usage) -> bytes:
        return msgspec.json.encode(
            {
                "id": self._envelope.id,
                "object": "chat.completion",
                "created": self._envelope.created,
                "model": self._envelope.model,
                "system_fingerprint": self._envelope.system_fingerprint,
                "choices": [
                    {
                        "index": choice.index,
                        "message": {"role": "assistant", "content": choice.text, "refusal": None},
                        "logprobs": None,
                        "finish_reason": choice.finish_reason.value,
                    }
                    for choice in choices
                ],
                "usage": usage,
            }
        )
