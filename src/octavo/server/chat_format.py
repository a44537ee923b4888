"""A chat's answer as OpenAI's JSON, whole or in chunks: text, reasoning, and calls of tools."""

import collections
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from octavo.core.messages import TokenLogprobs
from octavo.core.request import FinishReason
from octavo.server.dialect import Envelope, WholeChoice
from octavo.server.explanation import Explanation
from octavo.server.logprobs import ChatTokens
from octavo.server.prompt_report import PromptReport
from octavo.server.schema import Usage
from octavo.server.token_report import ReportedTokens
from octavo.text.answer_parser import AnswerParser, PlainAnswer
from octavo.text.deltas import ArgumentsDelta, CallDelta, Delta, ReasoningDelta, TextDelta

_WHOLE = "chat.completion"
_CHUNK = "chat.completion.chunk"
_EMPTY = b'{"content":""}'  # the delta of a chunk that is there for its log-probabilities


class ChatFormat:
    """A chunk is head + index + delta + tail; all but the delta is rendered once per answer."""

    def __init__(
        self,
        envelope: Envelope,
        *,
        tokens: ChatTokens,
        prompts: PromptReport,
        new_parser: Callable[[], AnswerParser] = PlainAnswer,
        has_short_ids: bool = False,
        echo: str = "",
    ) -> None:
        """new_parser: for a choice. echo: what the text of each begins with."""
        self._envelope = envelope
        self._tokens = tokens
        self._prompts = prompts
        self._has_short_ids = has_short_ids
        self._echo = echo
        self._parsers: dict[int, AnswerParser] = collections.defaultdict(new_parser)  # by choice
        self._head = envelope.head(_CHUNK) + b',"choices":[{"index":'
        self._tail = b',"logprobs":null,"finish_reason":null}]' + envelope.tail

    def opening(self, index: int, prompt_logprobs: TokenLogprobs | None = None) -> bytes:
        echo = msgspec.json.encode(self._echo)
        start = b'%b%d,"delta":{"role":"assistant","content":%b}' % (self._head, index, echo)
        if not self._prompts.is_told_of:
            return start + self._tail
        extra = msgspec.json.encode(self._prompts.fields(index, prompt_logprobs))[1:-1]
        return b'%b,"logprobs":null,"finish_reason":null}],%b%b' % (start, extra, self._envelope.tail)

    def text(self, index: int, text: str, tokens: ReportedTokens | None = None) -> bytes:
        deltas = self._parsers[index].push(text)
        if tokens is None:
            return self._chunks(index, deltas)
        first = self._delta(index, deltas[0]) if deltas else _EMPTY
        fields = msgspec.json.encode(self._tokens.fields(tokens))[1:-1]
        tail = b',%b,"finish_reason":null}]%b' % (fields, self._envelope.tail)
        return b'%b%d,"delta":%b%b' % (self._head, index, first, tail) + self._chunks(index, deltas[1:])

    def take_up(self, index: int, text: str) -> None:
        self._parsers[index].push(text)

    def ending(self, index: int, finish_reason: FinishReason) -> bytes:
        parser = self._parsers[index]
        return self._chunks(
            index, parser.finish()
        ) + b'%b%d,"delta":{},"logprobs":null,"finish_reason":"%b"}]%b' % (
            self._head,
            index,
            _reason(parser, finish_reason).encode(),
            self._envelope.tail,
        )

    def last(self, usage: Usage | None, explanation: Explanation | None) -> bytes:
        return self._envelope.last_chunk(_CHUNK, usage, explanation)

    def whole(
        self, choices: Sequence[WholeChoice], usage: Usage, explanation: Explanation | None = None
    ) -> bytes:
        prompt = self._prompts.fields(0, choices[0].prompt_logprobs)
        return self._envelope.whole(_WHOLE, map(self._whole_choice, choices), usage, explanation, **prompt)

    def _whole_choice(self, choice: WholeChoice) -> dict[str, Any]:
        parser = self._parsers[choice.index]
        deltas = [*parser.push(choice.text), *parser.finish()]
        return {
            "index": choice.index,
            "message": self._message(choice.index, deltas),
            **self._tokens.fields(choice.tokens),
            "finish_reason": _reason(parser, choice.finish_reason),
        }

    def _message(self, index: int, deltas: list[Delta]) -> dict[str, Any]:
        text = self._echo + "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
        reasoning = "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta))
        calls: list[dict[str, Any]] = []
        for delta in deltas:
            if isinstance(delta, CallDelta):
                calls.append(self._call(index, delta))
            elif isinstance(delta, ArgumentsDelta):
                calls[-1]["function"]["arguments"] += delta.text
        content = None if not text and (calls or reasoning) else text
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
        if reasoning:
            message |= {"reasoning_content": reasoning, "reasoning": reasoning}
        return {**message, "tool_calls": calls} if calls else message

    def _chunks(self, index: int, deltas: list[Delta]) -> bytes:
        data = b""
        for delta in deltas:
            data += b'%b%d,"delta":%b%b' % (self._head, index, self._delta(index, delta), self._tail)
        return data

    def _delta(self, choice: int, delta: Delta) -> bytes:
        """A JSON object."""
        if isinstance(delta, TextDelta):
            return b'{"content":%b}' % msgspec.json.encode(delta.text)
        match delta:
            case ReasoningDelta(text):
                return msgspec.json.encode({"reasoning_content": text, "reasoning": text})
            case CallDelta(index):
                return msgspec.json.encode({"tool_calls": [{"index": index, **self._call(choice, delta)}]})
            case ArgumentsDelta(index, text):
                return msgspec.json.encode(
                    {"tool_calls": [{"index": index, "function": {"arguments": text}}]}
                )

    def _call(self, choice: int, delta: CallDelta) -> dict[str, Any]:
        """The id is a function of the answer's own, so that another replica gives the same."""
        digest = hashlib.sha256(f"{self._envelope.id}-{choice}-{delta.index}".encode()).hexdigest()
        call_id = digest[:9] if self._has_short_ids else f"call_{digest[:24]}"
        return {"id": call_id, "type": "function", "function": {"name": delta.name, "arguments": ""}}


def _reason(parser: AnswerParser, finish_reason: FinishReason) -> str:
    is_call = parser.num_calls > 0 and finish_reason is FinishReason.STOP
    return "tool_calls" if is_call else finish_reason.value
