"""How generated text leaves: as server-sent events while it comes, or as one JSON body at the end."""

import asyncio
import dataclasses
import functools
from collections.abc import Callable, Sequence

from starlette.types import Send

from octavo.core.relay import ErrorMark, Mark
from octavo.http.errors import ErrorAnswer
from octavo.http.events import on_one_line
from octavo.http.outlet import Outlet
from octavo.http.responses import send_json
from octavo.server.dialect import DONE, Format, WholeChoice, with_usage
from octavo.server.explanation import Explain, no_explanation
from octavo.server.generation import Generation, run_all, running, usage_of, usage_so_far
from octavo.server.origin import Origin
from octavo.server.ranking import best
from octavo.server.token_report import ReportedTokens

COMMENT = b": heartbeat\n\n"  # a sign of life, which readers of server-sent events skip
_INLINE_TOKENS = 256  # of more, what is told of them is rendered in a thread: it would hold up every stream
_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # asks nginx to pass events on as they come
)


@dataclasses.dataclass(frozen=True, slots=True)
class StreamExtras:
    """What a stream has beside the text. includes_usage: all of it, at the end; has_running_usage: in every
    chunk that of its choice so far. explain is asked at the end."""

    includes_usage: bool = False
    has_running_usage: bool = False
    explain: Explain = no_explanation


class StreamedAnswer:
    """Server-sent events. The status leaves with the first token, or with the first heartbeat while that is
    waited for: what fails before has a status of its own.

        head, first events      sent by run()
        events                  written by emit(), as the engine's step calls it
        last events             sent by run()
    """

    def __init__(
        self,
        send: Send,
        outlet: Outlet,
        generations: Sequence[Generation],
        form: Format,
        extras: StreamExtras = StreamExtras(),
        *,
        heartbeat_seconds: float = 0.0,
    ) -> None:
        """heartbeat_seconds: between two; 0 for none."""
        self._send = send
        self._outlet = outlet
        self._generations = generations
        self._format = form
        self._extras = extras
        self._heartbeat_seconds = heartbeat_seconds
        self._opened: set[int] = set()
        self._num_unfinished = len(generations)
        self._held = b""  # for run() to send
        self._has_come = asyncio.Event()  # something to send, or the end of it all
        self._is_flowing = False  # run() has sent all that comes before
        self.has_started = False

    async def run(self) -> None:
        """Send all of it. Raises the error of a generation that fails: then end_with_error() is to follow,
        if the answer has_started."""
        with running(self._generations, self) as whole:
            await self._wait_for_something(whole)
            while self._held and self._num_unfinished:
                await self._send_head()
                held, self._held = self._held, b""
                await self._send({"type": "http.response.body", "body": held, "more_body": True})
            await self._flow(whole)
        await self._send_head()
        await self._send({"type": "http.response.body", "body": self._held})

    async def _flow(self, whole: asyncio.Future[None]) -> None:
        """While emit() writes."""
        before, self._outlet.on_room = self._outlet.on_room, self._advance
        self._is_flowing = True
        self._advance()
        try:
            await whole
        finally:
            self._outlet.on_room = before  # the connection outlives the answer

    async def _wait_for_something(self, whole: asyncio.Future[None]) -> None:
        """With heartbeats meanwhile."""
        whole.add_done_callback(lambda _: self._has_come.set())
        while not self._has_come.is_set():
            try:
                async with asyncio.timeout(self._heartbeat_seconds or None):
                    await self._has_come.wait()
            except TimeoutError:
                await self._send_head()
                if not self._outlet.is_behind:
                    self._outlet.write(COMMENT)

    async def _send_head(self) -> None:
        if not self.has_started:
            await self._send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
            self.has_started = True

    def _advance(self) -> None:
        for generation in self._generations:
            generation.advance()

    @property
    def is_behind(self) -> bool:
        return self._outlet.is_behind if self._is_flowing else bool(self._held)

    def emit(self, generation: Generation, text: str, tokens: ReportedTokens | None) -> None:
        data = self._render(generation, text, tokens)
        if not data:
            return
        if self._is_flowing and self._num_unfinished:
            self._outlet.write(data)
        else:
            self._held += data
            self._has_come.set()

    def _render(self, generation: Generation, text: str, tokens: ReportedTokens | None) -> bytes:
        """The events that this text, and this end, add."""
        index = generation.index
        data = b"" if index in self._opened else self._opening(generation)
        if text or tokens:
            data += self._format.text(index, text, tokens)
        if generation.finish_reason is not None:
            data += self._format.ending(index, generation.finish_reason)
        if self._extras.has_running_usage:
            data = with_usage(data, usage_so_far(generation))
        if generation.finish_reason is not None:
            self._num_unfinished -= 1
            data += self._closing()
        return data if data.isascii() else on_one_line(data)

    def _opening(self, generation: Generation) -> bytes:
        self._opened.add(generation.index)
        return self._format.opening(generation.index, generation.prompt_logprobs)

    def _closing(self) -> bytes:
        if self._num_unfinished:
            return b""
        usage = usage_of(self._generations) if self._extras.includes_usage else None
        explanation = self._extras.explain()
        last = b"" if usage is None and explanation is None else self._format.last(usage, explanation)
        return last + DONE

    async def end_with_error(self, answer: ErrorAnswer) -> None:
        """Say in the stream that it failed: it never just ends."""
        await self._send({"type": "http.response.body", "body": answer.event})


class RelayedAnswer(StreamedAnswer):
    """The same for a router: before each piece a mark that says what it came of (core/relay.py).

    What a client has already, of an answer that another replica began, is not sent again. There are no
    heartbeats: a router that has got nothing yet may ask another replica.
    """

    def __init__(
        self,
        send: Send,
        outlet: Outlet,
        generations: Sequence[Generation],
        form: Format,
        extras: StreamExtras = StreamExtras(),
        *,
        origin: Origin,
        can_others_resume: Callable[[], bool],
    ) -> None:
        """can_others_resume: whether an error now is this replica's, not the request's."""
        super().__init__(send, outlet, generations, form, extras)
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

    def _render(self, generation: Generation, text: str, tokens: ReportedTokens | None) -> bytes:
        index = generation.index
        data = super()._render(generation, text, tokens)
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
        return mark.encode() + data

    async def end_with_error(self, answer: ErrorAnswer) -> None:
        event = answer.event
        mark = ErrorMark(len(event), is_resumable=self._can_others_resume())
        await self._send({"type": "http.response.body", "body": mark.encode() + event})


class WholeAnswer:
    """One JSON body, sent when every choice is complete."""

    is_behind = False
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

    async def run(self) -> None:
        """Send it, when it is complete. Raises the error of a generation that fails."""
        await run_all(self._generations, self)
        shown = best(self._generations, self._num_shown)
        choices = [self._choice(index, generation) for index, generation in enumerate(shown)]
        whole = functools.partial(self._format.whole, choices, usage_of(self._generations), self._explain())
        is_short = sum(choice.num_told for choice in choices) <= _INLINE_TOKENS
        await send_json(self._send, 200, whole() if is_short else await asyncio.to_thread(whole))

    def emit(self, generation: Generation, text: str, tokens: ReportedTokens | None) -> None:
        self._texts[generation.index].append(text)
        if tokens is not None:
            self._tokens.setdefault(generation.index, ReportedTokens()).extend(tokens)

    def _choice(self, index: int, generation: Generation) -> WholeChoice:
        assert generation.finish_reason is not None
        text, tokens = "".join(self._texts[generation.index]), self._tokens.get(generation.index)
        scored = self._generations[generation.first]
        return WholeChoice(index, text, generation.finish_reason, tokens, scored.prompt_logprobs)

    async def end_with_error(self, answer: ErrorAnswer) -> None:
        raise AssertionError("an answer that has not started is refused with a status")
