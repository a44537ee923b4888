"""How many messages an answer takes, in which order its parts leave, and who writes them."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from starlette.types import Message

from octavo.core.errors import EngineError
from octavo.core.request import FinishReason
from octavo.http.errors import ErrorAnswer
from octavo.server.chat_format import ChatFormat
from octavo.server.dialect import Envelope
from octavo.server.generation import Generation, Sink
from octavo.server.logprobs import ChatTokens, TokenNames
from octavo.server.prompt_report import PromptReport
from octavo.server.streaming import COMMENT, StreamedAnswer, StreamExtras, WholeAnswer
from octavo.server.token_report import ReportedTokens

pytestmark = pytest.mark.asyncio

HEAD = "http.response.start"


class Choice:
    """What an answer looks at in a Generation, and drives: the test says what comes of it."""

    num_prompt_tokens, num_output_tokens, num_cached_tokens = 3, 2, 1
    shares_prompt = False
    num_reasoning_tokens = None
    first = 0
    prompt_logprobs = None

    def __init__(self, index: int) -> None:
        self.index = index
        self.finish_reason: FinishReason | None = None
        self.num_advances = 0
        self._sink: Any = None
        self._on_end: Any = None

    def start(self, sink: Sink, on_end: Callable[[Exception | None], None]) -> None:
        self._sink, self._on_end = sink, on_end

    def stop(self) -> None:
        pass

    def advance(self) -> None:
        self.num_advances += 1

    def say(
        self, text: str, finish_reason: FinishReason | None = None, *, ids: list[int] | None = None
    ) -> None:
        assert not self._sink.is_behind
        tokens = None if ids is None else ReportedTokens(ids, [0] * len(ids))
        self.finish_reason = finish_reason
        self._sink.emit(self, text, tokens)
        if finish_reason is not None:
            self._on_end(None)

    def fail(self, error: Exception) -> None:
        self._on_end(error)


class Sent:
    """ASGI's send and an outlet in one: what left, in order."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.chunks: list[str] = []
        self.is_behind = self.is_gone = False
        self.on_room: Callable[[], None] = lambda: None
        self.on_gone: Callable[[], None] = lambda: None

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)
        if message.get("body"):
            self.chunks.append(message["body"].decode())

    def write(self, data: bytes) -> None:
        assert not self.is_behind and data and self.messages
        self.chunks.append(data.decode())

    @property
    def is_whole(self) -> bool:
        return self.messages[-1].get("more_body", False) is False


def choices(count: int) -> tuple[list[Choice], list[Generation]]:
    made = [Choice(index) for index in range(count)]
    return made, cast(Any, made)


def chat_format(*, includes_usage: bool = False) -> ChatFormat:
    envelope = Envelope("id", 1, "m", "fp", includes_usage)
    names = TokenNames(())
    report = PromptReport(names, [[1]], num_choices=1)
    return ChatFormat(envelope, tokens=ChatTokens(names, has_ids=True), prompts=report)


class TextFormat:
    """As that of completions: there is no opening, and nothing for no text."""

    def opening(self, index: int, prompt_logprobs: object) -> bytes:
        return b""

    def text(self, index: int, text: str, tokens: ReportedTokens | None = None) -> bytes:
        return text.encode()


@contextlib.asynccontextmanager
async def streaming(
    count: int = 1, *, form: Any = None, extras: StreamExtras | None = None, **options: Any
) -> AsyncIterator[tuple[Sent, list[Choice], StreamedAnswer, "asyncio.Task[None]"]]:
    """While an answer of so many choices runs."""
    sent, (made, generations) = Sent(), choices(count)
    extras = extras or StreamExtras()
    form = form or chat_format(includes_usage=extras.includes_usage)
    answer = StreamedAnswer(sent, sent, generations, form, extras, **options)
    task = asyncio.create_task(answer.run())
    await asyncio.sleep(0)
    try:
        yield sent, made, answer, task
    finally:
        task.cancel()


async def turns() -> None:
    """As many turns of the event loop as the answer's task may take to send what it holds."""
    for _ in range(4):
        await asyncio.sleep(0)


async def test_role_and_first_text_leave_in_one_message() -> None:
    async with streaming() as (sent, (choice,), answer, _):
        await turns()
        assert not answer.has_started
        choice.say("a")
        await turns()
        assert answer.has_started
        (first,) = sent.chunks
    assert first.count("data: ") == 2
    assert first.index('"role":"assistant"') < first.index('"content":"a"')


async def test_until_the_head_has_left_nothing_more_is_taken() -> None:
    async with streaming(2) as (sent, (first, second), answer, _):
        first.say("a")
        assert answer.is_behind
        await turns()
        assert not answer.is_behind
        assert second.num_advances == 1
        second.say("b")
        assert [chunk.count("data: ") for chunk in sent.chunks] == [2, 2]


async def test_what_comes_later_is_written_at_once() -> None:
    async with streaming() as (sent, (choice,), _, _):
        choice.say("a")
        await turns()
        choice.say("b")
        assert '"content":"b"' in sent.chunks[-1]
        assert len(sent.messages) == 2


async def test_when_there_is_room_again_the_choices_go_on() -> None:
    async with streaming() as (sent, (choice,), answer, task):
        choice.say("a")
        await turns()
        sent.is_behind = True
        assert answer.is_behind
        sent.is_behind = False
        count = choice.num_advances
        sent.on_room()
        assert choice.num_advances == count + 1
        choice.say("b", FinishReason.STOP)
        await task
        sent.on_room()
        assert choice.num_advances == count + 1


async def test_the_end_leaves_in_one_message_with_the_last_text() -> None:
    async with streaming(extras=StreamExtras(includes_usage=True)) as (sent, (choice,), _, task):
        choice.say("a")
        await turns()
        choice.say("b", FinishReason.LENGTH)
        await task
    _, last = sent.chunks
    order = [
        last.index(part)
        for part in ('"content":"b"', '"finish_reason":"length"', '"total_tokens":5', "[DONE]")
    ]
    assert order == sorted(order)
    assert sent.is_whole


async def test_an_answer_of_one_piece_is_one_message() -> None:
    async with streaming() as (sent, (choice,), _, task):
        choice.say("a", FinishReason.STOP)
        await task
    assert len(sent.messages) == 2 and len(sent.chunks) == 1 and sent.is_whole


async def test_a_first_token_without_a_text_or_an_opening_sends_no_head() -> None:
    async with streaming(form=TextFormat()) as (sent, (choice,), answer, _):
        choice.say("")
        await turns()
        assert not answer.has_started
        choice.say("a")
        await turns()
        choice.say("b")
        assert sent.chunks == ["a", "b"] and sent.messages[0]["type"] == HEAD


async def test_nothing_is_sent_for_nothing() -> None:
    async with streaming() as (sent, (choice,), _, _):
        choice.say("")
        await turns()
        count = len(sent.chunks)
        choice.say("")
        assert len(sent.chunks) == count


async def test_tokens_without_text_are_told_of() -> None:
    async with streaming() as (sent, (choice,), _, _):
        for reported in ([7], [], [8, 9]):
            choice.say("", ids=reported)
            await turns()
    assert ["token_ids" in chunk for chunk in sent.chunks] == [True, True]


async def test_the_stream_is_done_when_the_last_choice_is() -> None:
    async with streaming(2) as (sent, (first, second), _, task):
        for choice in (second, first):
            assert "[DONE]" not in "".join(sent.chunks)
            choice.say("x", FinishReason.STOP)
            await turns()
        await task
    assert sent.chunks[-1].endswith("data: [DONE]\n\n")


async def test_what_fails_before_the_first_token_has_sent_nothing() -> None:
    async with streaming() as (sent, (choice,), answer, task):
        choice.fail(EngineError("It broke."))
        with pytest.raises(EngineError):
            await task
        assert not answer.has_started and not sent.messages


async def test_an_error_is_the_last_event() -> None:
    async with streaming() as (sent, (choice,), answer, task):
        choice.say("a")
        choice.fail(EngineError("It broke."))
        with pytest.raises(EngineError):
            await task
        assert '"content":"a"' in sent.chunks[-1] and answer.has_started
        await answer.end_with_error(ErrorAnswer("engine_error", "It broke."))
    assert json.loads(sent.chunks[-1].removeprefix("data: "))["error"]["message"] == "It broke."
    assert sent.is_whole


async def test_heartbeats_come_until_the_first_token_while_the_client_reads() -> None:
    async with streaming(heartbeat_seconds=0.001) as (sent, (choice,), answer, _):
        while sent.chunks.count(COMMENT.decode()) < 2:
            await asyncio.sleep(0.001)
        assert answer.has_started
        sent.is_behind = True
        count = len(sent.chunks)
        await asyncio.sleep(0.005)
        assert len(sent.chunks) == count
        sent.is_behind = False
        choice.say("a")
        await turns()
        count = len(sent.chunks)
        await asyncio.sleep(0.005)
        assert len(sent.chunks) == count and [one["type"] for one in sent.messages].count(HEAD) == 1


async def test_a_whole_answer_is_one_body() -> None:
    sent, ((choice,), generations) = Sent(), choices(1)
    answer = WholeAnswer(sent, generations, chat_format(), num_shown=1)
    task = asyncio.create_task(answer.run())
    await asyncio.sleep(0)
    choice.say("a", ids=[97])
    choice.say("b", FinishReason.STOP, ids=[98])
    assert sent.messages == []
    await task
    (body,) = sent.chunks
    assert dict(sent.messages[0]["headers"])[b"content-length"] == str(len(body)).encode()
    (told,) = json.loads(body)["choices"]
    assert (told["message"]["content"], told["token_ids"]) == ("ab", [97, 98])


async def test_much_that_is_told_of_tokens_is_rendered_beside_the_event_loop() -> None:
    sent, ((choice,), generations) = Sent(), choices(1)
    form, threads = chat_format(), set()
    whole = form.whole

    def watched(*given: Any) -> bytes:
        threads.add(threading.current_thread())
        return whole(*given)

    form.whole = watched  # type: ignore[method-assign]
    task = asyncio.create_task(WholeAnswer(sent, generations, form, num_shown=1).run())
    await asyncio.sleep(0)
    choice.say("a", FinishReason.STOP, ids=[97] * 1000)
    await task
    assert len(json.loads(sent.chunks[0])["choices"][0]["token_ids"]) == 1000
    assert threads.isdisjoint({threading.current_thread()}) and len(threads) == 1


async def test_an_event_is_one_line_whatever_the_text_holds() -> None:
    text = "a\u2028b\u2029c\x85d\r\ne\x0bf\x0cg\x1ch"
    async with streaming() as (sent, (choice,), _, task):
        choice.say(text, FinishReason.STOP)
        await task
    events = [line.removeprefix("data: ") for line in "".join(sent.chunks).splitlines() if line]
    assert events[-1] == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events[:-1]]
    assert [delta.get("content") for delta in deltas] == ["", text, None]
