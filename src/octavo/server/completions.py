"""POST /v1/completions: raw prompts, no chat template. Several prompts are answered as so many choices."""

import functools
from collections.abc import Mapping, Sequence

import msgspec

from octavo.core.messages import TokenLogprobs
from octavo.core.request import FinishReason
from octavo.server.decoder import BodyDecoder
from octavo.server.dialect import Encoded, Envelope, WholeChoice
from octavo.server.explanation import Explanation
from octavo.server.logprobs import CompletionTokens, TokenNames
from octavo.server.parameters import Api, parameters_of
from octavo.server.prompt_report import PromptReport
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
        kept = prompts.kept(request.truncate_prompt_tokens, request.max_tokens, request.truncation_side)
        encoded = await prompts.encode_prompts(request.prompt, suffix=request.suffix, kept=kept)
        uses_ids = bool(request.return_tokens_as_token_ids)
        names = TokenNames(prompts.spelling, uses_ids=uses_ids, prefix="bytes:")
        report = PromptReport(
            names,
            encoded,
            num_choices=request.n or 1,
            echoes=await prompts.echoes(request.prompt, encoded, kept) if request.echo else [],
            num_logprobs=request.logprobs,
            num_prompt_logprobs=request.prompt_logprobs,
            has_ids=bool(request.return_token_ids),
        )
        tokens = CompletionTokens(names, has_ids=report.has_ids)
        new_format = functools.partial(CompletionFormat, tokens=tokens, prompts=report)
        return Encoded(encoded, new_format, grammar=request.grammar())


class CompletionFormat:
    """A chunk is head + index + text + tail; all but the text is rendered once per answer."""

    def __init__(self, envelope: Envelope, *, tokens: CompletionTokens, prompts: PromptReport) -> None:
        self._envelope = envelope
        self._tokens = tokens
        self._prompts = prompts
        self._head = envelope.head(_KIND) + b',"choices":[{"index":'
        self._tail = b',"logprobs":null,"finish_reason":null}]' + envelope.tail

    def opening(self, index: int, prompt_logprobs: TokenLogprobs | None = None) -> bytes:
        if not self._prompts.is_told_of:
            return b""
        fields = {
            "text": self._prompts.text(index),
            "logprobs": self._prompts.echoed_logprobs(index, prompt_logprobs),
            **self._prompts.fields(index, prompt_logprobs),
        }
        return self._chunk(index, fields)

    def text(self, index: int, text: str, tokens: ReportedTokens | None = None) -> bytes:
        if tokens is None:
            return b'%b%d,"text":%b%b' % (self._head, index, msgspec.json.encode(text), self._tail)
        fields = self._tokens.fields(tokens, num_echoed=len(self._prompts.text(index)))
        return self._chunk(index, {"text": text, **fields})

    def _chunk(self, index: int, fields: Mapping[str, object]) -> bytes:
        rendered = msgspec.json.encode(fields)[1:-1]
        return b'%b%d,%b,"finish_reason":null}]%b' % (self._head, index, rendered, self._envelope.tail)

    def _whole_choice(self, choice: WholeChoice) -> dict[str, object]:
        index, scores = choice.index, choice.prompt_logprobs
        echo = self._prompts.text(index)
        lists = self._prompts.echoed_logprobs(index, scores)
        return {
            "index": index,
            "text": echo + choice.text,
            **self._tokens.fields(choice.tokens, num_echoed=len(echo), echo=lists),
            **self._prompts.fields(index, scores),
            "finish_reason": choice.finish_reason.value,
        }

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

    def last(self, usage: Usage | None, explanation: Explanation | None) -> bytes:
        return self._envelope.last_chunk(_KIND, usage, explanation)

    def whole(
        self, choices: Sequence[WholeChoice], usage: Usage, explanation: Explanation | None = None
    ) -> bytes:
        return self._envelope.whole(_KIND, map(self._whole_choice, choices), usage, explanation)
