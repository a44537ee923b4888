"""How generated text leaves: as server-sent events while it comes, or as one JSON body at the end."""

from collections.abc import Sequence

from starlette.types import Send

from octavo.http.errors import ErrorAnswer, send_json
from octavo.server.dialect import DONE, Format, WholeChoice
from octavo.server.generation import Generation, usage_of

_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # asks nginx to pass events on as they come
)


class StreamedAnswer:
    """Server-sent events. The status leaves with the first token: what fails before has its own."""

    def __init__(
        self, send: Send, generations: Sequence[Generation], form: Format, *, includes_usage: bool
    ) -> None:
        self._send = send
        self._generations = generations
        self._format = form
        self._includes_usage = includes_usage
        self._opened: set[int] = set()
        self._num_unfinished = len(generations)
        self.has_started = False

    async def emit(self, generation: Generation, text: str) -> None:
        index = generation.index
        data = b""
        if index not in self._opened:
            self._opened.add(index)
            data += self._format.opening(index)
        if text:
            data += self._format.text(index, text)
        if generation.finish_reason is not None:
            data += self._format.ending(index, generation.finish_reason)
            self._num_unfinished -= 1
            data += self._closing()
        if data:
            await self._write(data)

    def _closing(self) -> bytes:
        if self._num_unfinished:
            return b""
        usage = self._format.usage(usage_of(self._generations)) if self._includes_usage else b""
        return usage + DONE

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})

    async def end_with_error(self, answer: ErrorAnswer) -> None:
        """Say in the stream that it failed: it never just ends."""
        await self._send({"type": "http.response.body", "body": answer.event})

    async def _write(self, data: bytes) -> None:
        if not self.has_started:
            self.has_started = True
            await self._send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        await self._send({"type": "http.response.body", "body": data, "more_body": True})


class WholeAnswer:
    """One JSON body, sent when every choice is complete."""

    has_started = False  # an error is always still in time for a status of its own

    def __init__(self, send: Send, generations: Sequence[Generation], form: Format) -> None:
        self._send = send
        self._generations = generations
        self._format = form
        self._texts: list[list[str]] = [[] for _ in generations]

    async def emit(self, generation: Generation, text: str) -> None:
        self._texts[generation.index].append(text)

    async def end(self) -> None:
        choices = [
            WholeChoice(generation.index, "".join(self._texts[generation.index]), generation.finish_reason)
            for generation in self._generations
            if generation.finish_reason is not None
        ]
        await send_json(self._send, 200, self._format.whole(choices, usage_of(self._generations)))

    async def end_with_error(self, answer: ErrorAnswer) -> None:
        raise AssertionError("an answer that has not started is refused with a status")
