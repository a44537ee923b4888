"""How generated text leaves: as server-sent events while it comes, or as one JSON body at the end."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence

from starlette.types import Send

from octavo.core.relay import ErrorMark, Mark
from octavo.http.errors import ErrorAnswer
from octavo.http.events import on_one_line
from octavo.http.responses import send_json
from octavo.server.dialect import DONE, Format, WholeChoice, with_usage
from octavo.server.explanation import Explain, no_explanation
from octavo.server.generation import Generation, usage_of, usage_so_far
from octavo.server.heartbeat import COMMENT, Heartbeat
from octavo.server.origin import Origin
from octavo.server.ranking import best
from octavo.server.token_report import ReportedTokens

_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # asks nginx to pass events on as they come
)


class StreamedAnswer:
    """Server-sent events. The status leaves with the first token, or with the first heartbeat while that is
    waited for: what fails before has a status of its own.
    """

    def __init__(
        self,
        send: Send,
        generations: Sequence[Generation],
        form: Format,
        *,
        includes_usage: bool,
        has_running_usage: bool = False,
        explain: Explain = no_explanation,
        heartbeat_seconds: float = 0.0,
        send_body: Send | None = None,
    ) -> None:
        """has_running_usage: every chunk has the usage of its choice so far. explain is asked at the end.
        send_body: a shorter way for what follows the head.
        """
        self._send = send
        self._send_body = send_body or send
        self._generations = generations
        self._format = form
        self._includes_usage = includes_usage
        self._has_running_usage = has_running_usage
        self._explain = explain
        self._opened: set[int] = set()
        self._num_unfinished = len(generations)
        self._heartbeat = Heartbeat(self._beat, heartbeat_seconds)
        self._head = asyncio.Lock()  # until it has left, nothing else may
        self.has_started = False
        self._has_ended = False

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """While tokens may come."""
        self._heartbeat.start()
        try:
            yield
        finally:
            self._heartbeat.stop()

    async def _beat(self) -> None:
        await self._write(COMMENT)

    async def emit(self, generation: Generation, text: str) -> None:
        self._heartbeat.stop()
        data = self._render(generation, text)
        if data:
            await self._write(data)

    def _render(self, generation: Generation, text: str) -> bytes:
        """The events that this text, and this end, add."""
        index = generation.index
        data = b""
        if index not in self._opened:
            self._opened.add(index)
            data += self._format.opening(index, generation.prompt_logprobs)
        tokens = generation.take_reported()
        if text or tokens:
            data += self._format.text(index, text, tokens)
        if generation.finish_reason is not None:
            data += self._format.ending(index, generation.finish_reason)
        if self._has_running_usage:
            data = with_usage(data, usage_so_far(generation))
        if generation.finish_reason is not None:
            self._num_unfinished -= 1
            data += self._closing()
        return on_one_line(data)

    def _closing(self) -> bytes:
        if self._num_unfinished:
            return b""
        usage = usage_of(self._generations) if self._includes_usage else None
        explanation = self._explain()
        last = b"" if usage is None and explanation is None else self._format.last(usage, explanation)
        return last + DONE

    async def end(self) -> None:
        """After the last event, if that was not known to be the last."""
        if not self._has_ended:
            await self._send_body({"type": "http.response.body", "body": b""})

    async def end_with_error(self, answer: ErrorAnswer) -> None:
        """Say in the stream that it failed: it never just ends."""
        await self._send_body({"type": "http.response.body", "body": answer.event})

    async def _write(self, data: bytes) -> None:
        if not self.has_started:
            await self._start()
        self._has_ended = not self._num_unfinished
        await self._send_body({"type": "http.response.body", "body": data, "more_body": not self._has_ended})

    async def _start(self) -> None:
        async with self._head:
            if not self.has_started:
                await self._send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
                self.has_started = True


class RelayedAnswer(StreamedAnswer):
    """The same for a router: before each piece a mark that says what it came of (core/relay.py).

    What a client has already, of an answer that another replica began, is not sent again. There are no
    heartbeats: a router that has got nothing yet may ask another replica.
    """

    def __init__(
        self,
        send: Send,
        generations: Sequence[Generation],
        form: Format,
        *,
        includes_usage: bool,
        has_running_usage: bool = False,
        explain: Explain = no_explanation,
        send_body: Send | None = None,
        origin: Origin,
        can_others_resume: Callable[[], bool],
    ) -> None:
        """can_others_resume: whether an error now is this replica's, not the request's."""
        super().__init__(
            send,
            generations,
            form,
            includes_usage=includes_usage,
            has_running_usage=has_running_usage,
            explain=explain,
            send_body=send_body,
        )
        self._opened = set(origin.progress)
        for generation in generations:
            form.take_up(generation.index, generation.taken_up)
        self._num_unfinished -= sum(generation.has_ended for generation in generations)
        self._num_characters = {
            generation.index: origin.progress[generation.index].num_characters
            if generation.index in origin.progress
            else 0
            for generation in generations
        }
        self._can_others_resume = can_others_resume

    async def emit(self, generation: Generation, text: str) -> None:
        index = generation.index
        data = self._render(generation, text)
        self._num_characters[index] += len(text)
        reason = generation.finish_reason
        mark = Mark(
            num_bytes=len(data),
            index=index,
            num_characters=self._num_characters[index],
            num_cached_tokens=generation.num_cached_tokens,
            finish_reason=None if reason is None else reason.value,
            token_ids=generation.take_token_ids(),
            held_logprobs=generation.held_logprobs,
        )
        await self._write(mark.encode() + data)

    async def end_with_error(self, answer: ErrorAnswer) -> None:
        event = answer.event
        mark = ErrorMark(len(event), is_resumable=self._can_others_resume())
        await self._send_body({"type": "http.response.body", "body": mark.encode() + event})


class WholeAnswer:
    """One JSON body, sent when every choice is complete."""

    has_started = False  # an error is always still in time for a status of its own

    def __init__(
        self,
        send: Send,
        generations: Sequence[Generation],
        form: Format,
        *,
        num_shown: int,
        explain: Explain = no_explanation,
    ) -> None:
        """num_shown: of each prompt's generations; the usage counts all. explain is asked at the end."""
        self._send = send
        self._generations = generations
        self._format = form
        self._num_shown = num_shown
        self._explain = explain
        self._texts: list[list[str]] = [[] for _ in generations]
        self._tokens: dict[int, ReportedTokens] = {}

    def waiting(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    async def emit(self, generation: Generation, text: str) -> None:
        self._texts[generation.index].append(text)
        tokens = generation.take_reported()
        if tokens is not None:
            self._tokens.setdefault(generation.index, ReportedTokens()).extend(tokens)

    async def end(self) -> None:
        shown = best(self._generations, self._num_shown)
        choices = [self._choice(index, generation) for index, generation in enumerate(shown)]
        usage = usage_of(self._generations)
        await send_json(self._send, 200, self._format.whole(choices, usage, self._explain()))

    def _choice(self, index: int, generation: Generation) -> WholeChoice:
        assert generation.finish_reason is not None
        text, tokens = "".join(self._texts[generation.index]), self._tokens.get(generation.index)
        scored = self._generations[generation.first]
        return WholeChoice(index, text, generation.finish_reason, tokens, scored.prompt_logprobs)

    async def end_with_error(self, answer: ErrorAnswer) -> None:
        raise AssertionError("an answer that has not started is refused with a status")
