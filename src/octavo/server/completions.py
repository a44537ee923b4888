"""POST /v1/completions: raw prompts, no chat template. Several prompts are answered as so many choices."""

import functools
from collections.abc import Mapping, Sequence

import msgspec

from octavo.core.request import FinishReason
from octavo.server.decoder import BodyDecoder
from octavo.server.dialect import Encoded, Envelope, WholeChoice
from octavo.server.logprobs import CompletionTokens, TokenNames
from octavo.server.parameters import Api, parameters_of
from octavo.server.prompts import PromptEncoder
from octavo.server.schema import CompletionRequest, Usage
from octavo.server.token_report import ReportedTokens

_KIND = "text_completion"  # of whole answers and of chunks alike


class CompletionDialect:
    id_prefix = "cmpl-"
    default_max_tokens = 16  # OpenAI's

    def __init__(self, *, allows_unknown: bool = False) -> None:
        parameters = parameters_of(Api.COMPLETIONS)
        self.decoder = BodyDecoder(CompletionRequest, parameters, allows_unknown=allows_unknown)

    async def encode(self, request: CompletionRequest, prompts: PromptEncoder) -> Encoded:
        num_kept = prompts.num_kept(request.truncate_prompt_tokens, request.max_tokens)
        encoded = await prompts.encode_prompts(request.prompt, suffix=request.suffix, num_kept=num_kept)
        has_ids = bool(request.return_token_ids)
        uses_ids = bool(request.return_tokens_as_token_ids)
        tokens = CompletionTokens(TokenNames(prompts.spelling, uses_ids=uses_ids, prefix="bytes:"), has_ids)
        num_choices = request.n or 1
        shown = [prompt for prompt in encoded for _ in range(num_choices)] if has_ids else []
        return Encoded(encoded, functools.partial(CompletionFormat, tokens=tokens, shown_prompts=shown))


class CompletionFormat:
    """A chunk is head + index + text + tail; all but the text is rendered once per answer.

    shown_prompts: of each choice, for a client that wants their token ids; else empty.
    """

    def __init__(
        self, envelope: Envelope, *, tokens: CompletionTokens, shown_prompts: Sequence[list[int]]
    ) -> None:
        self._envelope = envelope
        self._tokens = tokens
        self._shown_prompts = shown_prompts
        self._head = envelope.head(_KIND) + b',"choices":[{"index":'
        self._tail = b',"logprobs":null,"finish_reason":null}]' + envelope.tail

    def opening(self, index: int) -> bytes:
        if not self._shown_prompts:
            return b""
        return self._chunk(index, {"text": "", "logprobs": None, **self._of_prompt(index)})

    def text(self, index: int, text: str, tokens: ReportedTokens | None = None) -> bytes:
        if tokens is None:
            return b'%b%d,"text":%b%b' % (self._head, index, msgspec.json.encode(text), self._tail)
        return self._chunk(index, {"text": text, **self._tokens.fields(tokens)})

    def _chunk(self, index: int, fields: Mapping[str, object]) -> bytes:
        rendered = msgspec.json.encode(fields)[1:-1]
        return b'%b%d,%b,"finish_reason":null}]%b' % (self._head, index, rendered, self._envelope.tail)

    def _of_prompt(self, index: int) -> dict[str, object]:
        return {"prompt_token_ids": self._shown_prompts[index]} if self._shown_prompts else {}

    def take_up(self, index: int, text: str) -> None:
        pass  # a text is rendered the same, whatever came before it

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
                        **self._tokens.fields(choice.tokens),
                        **self._of_prompt(choice.index),
                        "finish_reason": choice.finish_reason.value,
                    }
                    for choice in choices
                ],
                "usage": usage,
            }
        )
