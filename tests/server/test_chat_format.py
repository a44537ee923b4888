"""Chunks and whole answers hold the same; log-probabilities leave even if their text is held back."""

import json
from typing import Any

from octavo.core.request import FinishReason
from octavo.server.chat_format import ChatFormat
from octavo.server.dialect import Envelope, WholeChoice
from octavo.server.logprobs import ChatTokens, TokenNames
from octavo.server.prompt_report import PromptReport
from octavo.server.schema import PromptTokensDetails, Usage
from octavo.server.token_report import ReportedTokens
from octavo.text.answer_parser import ParsedAnswer, PlainAnswer
from octavo.text.reasoning import REASONING_TAGS, ReasoningSplitter
from octavo.text.tool_calls import ToolCallParser
from octavo.text.tool_formats import HERMES

CALL = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
NAMES = TokenNames([b"a"] * 9)


def chat_format(*, is_parsed: bool = True, **options: Any) -> ChatFormat:
    def new_parser() -> ParsedAnswer:
        return ParsedAnswer(
            ReasoningSplitter(REASONING_TAGS[0], is_open=False), ToolCallParser(HERMES, {"f"})
        )

    return ChatFormat(
        Envelope("id", 1, "m", "fp", False),
        tokens=ChatTokens(NAMES, has_ids=True),
        prompts=PromptReport(NAMES, [[1]], num_choices=1),
        new_parser=new_parser if is_parsed else PlainAnswer,
        **options,
    )


def choices(events: bytes) -> list[dict[str, Any]]:
    return [json.loads(event[6:])["choices"][0] for event in events.decode().split("\n\n") if event]


def whole(text: str, reason: FinishReason = FinishReason.STOP, **options: Any) -> dict[str, Any]:
    rendered = chat_format(**options).whole(
        [WholeChoice(0, text, reason)], Usage(1, 1, 2, PromptTokensDetails(0))
    )
    choice: dict[str, Any] = json.loads(rendered)["choices"][0]
    return choice


def test_log_probabilities_do_not_wait_for_their_text() -> None:
    form = chat_format()
    (held,) = choices(form.text(0, "<tool", ReportedTokens([1], [0])))
    assert (held["delta"], held["token_ids"]) == ({"content": ""}, [1])
    first, *others = choices(form.text(0, f" x {CALL}", ReportedTokens([2, 3], [0, 0])))
    assert (first["delta"], first["token_ids"]) == ({"content": "<tool x"}, [2, 3])
    assert [set(other) for other in others] == [{"index", "delta", "logprobs", "finish_reason"}] * 2


def test_what_is_held_back_comes_with_the_end() -> None:
    form = chat_format()
    assert form.text(0, "<tool") == b""
    rest, end = choices(form.ending(0, FinishReason.STOP))
    assert (rest["delta"], end["delta"], end["finish_reason"]) == ({"content": "<tool"}, {}, "stop")


def test_what_was_taken_up_is_not_sent_again() -> None:
    form = chat_format()
    form.take_up(0, CALL[:-20])
    assert form.text(0, CALL[-20:]) != b"" and b"content" not in form.ending(0, FinishReason.STOP)


def test_the_reason_is_the_calls_only_if_the_model_ended_there() -> None:
    assert whole(CALL)["finish_reason"] == "tool_calls"
    assert whole(CALL, FinishReason.LENGTH)["finish_reason"] == "length"
    assert whole("ok")["finish_reason"] == "stop"


def test_content_is_null_where_there_is_something_else() -> None:
    message = whole(CALL)["message"]
    (call,) = message["tool_calls"]
    assert message["content"] is None and "reasoning" not in message
    assert call["function"] == {"name": "f", "arguments": '{"a": 1}'} and call["id"].startswith("call_")
    assert len(whole(CALL, has_short_ids=True)["message"]["tool_calls"][0]["id"]) == 9
    assert whole("<think>a</think>")["message"]["content"] is None
    assert whole("")["message"] == {"role": "assistant", "content": "", "refusal": None}
    assert whole(CALL, is_parsed=False)["message"]["content"] == CALL
