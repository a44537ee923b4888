"""A server without sockets that answers as a script says, on the running loop's time."""

import asyncio
import dataclasses
import json

import msgspec

from octavo.bench.answer import Record
from octavo.bench.client import ExchangeError, OnEvent


def chunk(text: str, **more: object) -> bytes:
    return json.dumps({"choices": [{"text": text}], **more}).encode()


USAGE = b'{"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d}}'


@dataclasses.dataclass
class ScriptedServer:
    """first: seconds to the first token, once a request is served; gap: between the next ones.

    places: served at once, in order; the others wait. refused: numbers of requests that are answered 429.
    """

    first: float = 0.1
    gap: float = 0.01
    places: int = 1_000_000
    refused: frozenset[int] = frozenset()
    has_usage: bool = True
    stall: tuple[float, float] | None = None  # from when until when nothing is served
    bodies: list[dict[str, object]] = dataclasses.field(default_factory=list)
    arrivals: list[float] = dataclasses.field(default_factory=list)
    _free: asyncio.Semaphore | None = None

    async def post(self, path: str, body: bytes, on_event: OnEvent) -> None:
        time = asyncio.get_running_loop().time
        number = len(self.bodies)
        asked = msgspec.json.decode(body)
        self.bodies.append(asked)
        self.arrivals.append(time())
        if number in self.refused:
            raise ExchangeError("HTTP 429")
        self._free = self._free or asyncio.Semaphore(self.places)
        async with self._free:
            await self._wait(self.first)
            for i in range(asked["max_tokens"]):
                if i:
                    await self._wait(self.gap)
                on_event(chunk("word "), time())
        if self.has_usage:
            on_event(USAGE % (10, asked["max_tokens"]), time())
        on_event(b"[DONE]", time())

    async def get(self, path: str) -> bytes:
        return b'{"data":[{"id":"scripted"},{"id":"another"}]}'

    async def _wait(self, seconds: float) -> None:
        time = asyncio.get_running_loop().time
        if self.stall is not None and self.stall[0] <= time() < self.stall[1]:
            await asyncio.sleep(self.stall[1] - time())
        await asyncio.sleep(seconds)


class NullWatcher:
    def begin(self, name: str, num_requests: int | None) -> None:
        pass

    def started(self) -> None:
        pass

    def ended(self, record: Record) -> None:
        pass
