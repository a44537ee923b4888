"""POST /v1/chat/completions, as OpenAI defines it."""

import functools
from collections.abc import Mapping, Sequence

import msgspec

from octavo.core.request import FinishReason
from octavo.server.decoder import BodyDecoder
from octavo.server.dialect import Encoded, Envelope, WholeChoice
from octavo.server.logprobs import ChatTokens, TokenNames
from octavo.server.messages import conversation
from octavo.server.parameters import Api, parameters_of
from octavo.server.prompts import PromptEncoder
from octavo.server.schema import ChatRequest, Usage
from octavo.server.token_report import ReportedTokens

_CHUNK = "chat.completion.chunk"


class ChatDialect:
    id_prefix = "chatcmpl-"
    default_max_tokens = None

    def __init__(self, *, allows_unknown: bool = False) -> None:
        self.decoder = BodyDecoder(ChatRequest, parameters_of(Api.CHAT), allows_unknown=allows_unknown)

    async def encode(self, request: ChatRequest, prompts: PromptEncoder) -> Encoded:
        max_tokens = request.max_completion_tokens or request.max_tokens
        num_kept = prompts.num_kept(request.truncate_prompt_tokens, max_tokens)
        prompt = await prompts.encode_chat(conversation(request.messages), num_kept=num_kept)
        has_ids = bool(request.return_token_ids)
        names = TokenNames(prompts.spelling, uses_ids=bool(request.return_tokens_as_token_ids))
        tokens = ChatTokens(names, has_ids=has_ids)
        extra = {"prompt_token_ids": prompt} if has_ids else {}
        return Encoded([prompt], functools.partial(ChatFormat, tokens=tokens, extra=extra))


class ChatFormat:
    """A chunk is head + index + delta + tail; all but the delta's text is rendered once per answer.

    extra: fields of the whole answer, or of a choice's first chunk.
    """

    def __init__(self, envelope: Envelope, *, tokens: ChatTokens, extra: Mapping[str, object]) -> None:
        self._envelope = envelope
        self._tokens = tokens
        self._extra = extra
        self._head = envelope.head(_CHUNK) + b',"choices":[{"index":'
        self._tail = b'},"logprobs":null,"finish_reason":null}]' + envelope.tail

    def opening(self, index: int) -> bytes:
        start = b'%b%d,"delta":{"role":"assistant","content":""' % (self._head, index)
        if not self._extra:
            return start + self._tail
        extra = msgspec.json.encode(self._extra)[1:-1]
        return b'%b},"logprobs":null,"finish_reason":null}],%b%b' % (start, extra, self._envelope.tail)

    def text(self, index: int, text: str, tokens: ReportedTokens | None = None) -> bytes:
        delta = b'%b%d,"delta":{"content":%b' % (self._head, index, msgspec.json.encode(text))
        if tokens is None:
            return delta + self._tail
        fields = msgspec.json.encode(self._tokens.fields(tokens))[1:-1]
        return b'%b},%b,"finish_reason":null}]%b' % (delta, fields, self._envelope.tail)

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
                        **self._tokens.fields(choice.tokens),
                        "finish_reason": choice.finish_reason.value,
                    }
                    for choice in choices
                ],
                "usage": usage,
                **self._extra,
            }
        )
