"""How many messages an answer takes, and in which order its parts leave."""

import json
from typing import Any, cast

import pytest
from starlette.types import Message

from octavo.core.request import FinishReason
from octavo.http.errors import ErrorAnswer
from octavo.server.chat_format import ChatFormat
from octavo.server.dialect import Envelope
from octavo.server.generation import Generation
from octavo.server.logprobs import ChatTokens, TokenNames
from octavo.server.prompt_report import PromptReport
from octavo.server.streaming import StreamedAnswer, WholeAnswer
from octavo.server.token_report import ReportedTokens

pytestmark = pytest.mark.asyncio


class Choice:
    """What an answer looks at in a Generation."""

    num_prompt_tokens, num_output_tokens, num_cached_tokens = 3, 2, 1
    shares_prompt = False
    num_reasoning_tokens = None
    first = 0
    prompt_logprobs = None

    def __init__(self, index: int) -> None:
        self.index = index
        self.finish_reason: FinishReason | None = None
        self.reported: ReportedTokens | None = None

    def take_reported(self) -> ReportedTokens | None:
        return self.reported


class Sent:
    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def chunks(self) -> list[str]:
        return [
            message["body"].decode() for message in self.messages if message["type"] == "http.response.body"
        ]


def choices(count: int) -> list[Generation]:
    return [cast(Any, Choice(index)) for index in range(count)]


def chat_format(*, includes_usage: bool = False) -> ChatFormat:
    envelope = Envelope("id", 1, "m", "fp", includes_usage)
    names = TokenNames(())
    report = PromptReport(names, [[1]], num_choices=1)
    return ChatFormat(envelope, tokens=ChatTokens(names, has_ids=True), prompts=report)


async def test_role_and_first_text_leave_in_one_message() -> None:
    sent = Sent()
    (choice,) = generations = choices(1)
    answer = StreamedAnswer(sent, generations, chat_format(), includes_usage=False)
    assert not answer.has_started
    await answer.emit(choice, "a")
    assert answer.has_started
    (first,) = sent.chunks
    assert first.count("data: ") == 2
    assert first.index('"role":"assistant"') < first.index('"content":"a"')


async def test_the_end_leaves_in_one_message_with_the_last_text() -> None:
    sent = Sent()
    (choice,) = generations = choices(1)
    answer = StreamedAnswer(sent, generations, chat_format(includes_usage=True), includes_usage=True)
    await answer.emit(choice, "a")
    choice.finish_reason = FinishReason.LENGTH
    await answer.emit(choice, "b")
    await answer.end()
    _, last = sent.chunks
    order = [
        last.index(part)
        for part in ('"content":"b"', '"finish_reason":"length"', '"total_tokens":5', "[DONE]")
    ]
    assert order == sorted(order)
    assert sent.messages[-1].get("more_body", False) is False


async def test_nothing_is_sent_for_nothing() -> None:
    sent = Sent()
    (choice,) = generations = choices(1)
    answer = StreamedAnswer(sent, generations, chat_format(), includes_usage=False)
    await answer.emit(choice, "")
    count = len(sent.messages)
    await answer.emit(choice, "")
    assert len(sent.messages) == count


async def test_tokens_without_text_are_told_of() -> None:
    sent = Sent()
    (choice,) = generations = choices(1)
    answer = StreamedAnswer(sent, generations, chat_format(), includes_usage=False)
    for reported in ([7], [], [8, 9]):
        cast(Any, choice).reported = ReportedTokens(reported, [0] * len(reported))
        await answer.emit(choice, "")
    assert ["token_ids" in chunk for chunk in sent.chunks] == [True, True]


async def test_the_stream_is_done_when_the_last_choice_is() -> None:
    sent = Sent()
    first, second = generations = choices(2)
    answer = StreamedAnswer(sent, generations, chat_format(), includes_usage=False)
    for choice in (second, first):
        assert "[DONE]" not in "".join(sent.chunks)
        choice.finish_reason = FinishReason.STOP
        await answer.emit(choice, "x")
    assert sent.chunks[-1].endswith("data: [DONE]\n\n")


async def test_an_error_is_the_last_event() -> None:
    sent = Sent()
    (choice,) = generations = choices(1)
    answer = StreamedAnswer(sent, generations, chat_format(), includes_usage=False)
    await answer.emit(choice, "a")
    await answer.end_with_error(ErrorAnswer("engine_error", "It broke."))
    assert json.loads(sent.chunks[-1].removeprefix("data: "))["error"]["message"] == "It broke."
    assert sent.messages[-1].get("more_body", False) is False


async def test_a_whole_answer_is_one_body() -> None:
    sent = Sent()
    (choice,) = generations = choices(1)
    answer = WholeAnswer(sent, generations, chat_format(), num_shown=1)
    for text in ("a", "b"):
        cast(Any, choice).reported = ReportedTokens(list(text.encode()), [0])
        choice.finish_reason = FinishReason.STOP if text == "b" else None
        await answer.emit(choice, text)
    assert sent.messages == []
    await answer.end()
    (body,) = sent.chunks
    assert dict(sent.messages[0]["headers"])[b"content-length"] == str(len(body)).encode()
    (told,) = json.loads(body)["choices"]
    assert (told["message"]["content"], told["token_ids"]) == ("ab", [97, 98])


async def test_an_event_is_one_line_whatever_the_text_holds() -> None:
    sent = Sent()
    (choice,) = generations = choices(1)
    answer = StreamedAnswer(sent, generations, chat_format(), includes_usage=False)
    choice.finish_reason = FinishReason.STOP
    text = "a\u2028b\u2029c\x85d\r\ne\x0bf\x0cg\x1ch"
    await answer.emit(choice, text)
    events = [line.removeprefix("data: ") for line in "".join(sent.chunks).splitlines() if line]
    assert events[-1] == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events[:-1]]
    assert [delta.get("content") for delta in deltas] == ["", text, None]
