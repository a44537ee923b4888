"""From a request of a workload to an exchange with an OpenAI-compatible server, and its record."""

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Protocol

import msgspec

from octavo.bench.answer import AnswerReader, Record
from octavo.bench.client import ExchangeError, OnEvent
from octavo.bench.workload import Request
from octavo.core.errors import StartError

PATHS = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}


class Poster(Protocol):
    """What a sender needs of client.py."""

    async def post(self, path: str, body: bytes, on_event: OnEvent) -> None: ...

    async def get(self, path: str) -> bytes: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Sender:
    """A refusal, a timeout, an answer that breaks off or has no token: all are failures of the request."""

    client: Poster
    model: str
    api: str  # of PATHS
    ignore_eos: bool
    timeout_seconds: float
    clock: Callable[[], float]

    async def send(self, request: Request, record: Record) -> str:
        """Fills in the record; returns the answer's text."""
        body = msgspec.json.encode(self._body(request))
        reader = AnswerReader(record)
        record.sent = self.clock()
        try:
            async with asyncio.timeout(self.timeout_seconds):
                await self.client.post(PATHS[self.api], body, reader.take)
        except ExchangeError as error:
            record.failure = error.reason
        except TimeoutError:
            record.failure = "timeout"
        else:
            reader.finish()
        record.end = self.clock()
        return reader.text

    def _body(self, request: Request) -> dict[str, object]:
        body: dict[str, object] = {
            "model": self.model,
            "messages" if self.api == "chat" else "prompt": request.content,
            "max_tokens": request.max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.ignore_eos:
            body["ignore_eos"] = True
        return body


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


async def first_model(client: Poster, server: str = "The server") -> str:
    """What the server calls the model that it lists first. Raises StartError, for people who call it so."""
    try:
        models = msgspec.json.decode(await client.get("/v1/models"), type=_Models).data
    except ExchangeError as error:
        if error.reason == "connect":
            raise StartError(f"{server} cannot be reached.") from None
        raise StartError(f"{server} does not list its models ({error.reason}); --model names one.") from None
    except msgspec.DecodeError:
        models = []
    if not models:
        raise StartError(f"{server} lists no model; --model names one.")
    return models[0].id
