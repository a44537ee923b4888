"""Asks octavo replicas a question whose answer is known: replicas of one card answer alike, to the bit.

The first answer of a card, with its log-probabilities, is the one that all must give from then on. Who
answers otherwise computes wrongly (memory, a bad build, a changed file): it gets nothing more, and what is
under way there goes on elsewhere, until it answers rightly again.
"""

import asyncio
import json
import secrets
from collections.abc import Callable
from typing import Annotated

import msgspec

from octavo.core.relay import KNOWN_ANSWER_PATH, SECRET_HEADER, ReplicaCard
from octavo.http.body import UNREADABLE
from octavo.http.headers import Headers
from octavo.router.endpoints import WRONG, Endpoint
from octavo.router.upstream_connection import UpstreamError

PROMPT = "The capital of France is"
MAX_TOKENS = 8
MAX_ANSWER_BYTES = 1 << 20


class _Choice(msgspec.Struct):
    text: str
    logprobs: msgspec.Raw


class _Completion(msgspec.Struct):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]


class KnownAnswer:
    def __init__(
        self,
        secret: str,
        *,
        api_key: str | None = None,
        interval_seconds: float = 30.0,
        timeout_seconds: float = 10.0,
        on_answer: Callable[[Endpoint, str], None] = lambda endpoint, outcome: None,
    ) -> None:
        """secret: shared with the replicas. on_answer is told the outcome of every question: right, wrong,
        or silent (which proves nothing)."""
        self._headers: Headers = [
            (b"content-type", b"application/json"),
            (SECRET_HEADER, secret.encode()),
        ]
        if api_key is not None:
            self._headers.append((b"authorization", f"Bearer {api_key}".encode()))
        self._interval_seconds = interval_seconds
        self._timeout_seconds = timeout_seconds
        self._on_answer = on_answer
        self._answers: dict[tuple[ReplicaCard, str], bytes] = {}  # by card and model

    async def watch(self, endpoint: Endpoint) -> None:
        """Until cancelled."""
        while True:
            if endpoint.is_ready and endpoint.card is not None and endpoint.cards:
                await self.ask(endpoint, endpoint.card, next(iter(endpoint.cards)))
            await asyncio.sleep(self._interval_seconds)

    async def ask(self, endpoint: Endpoint, card: ReplicaCard, model: str) -> None:
        try:
            answer = await self._answer(endpoint, model)
        except (UpstreamError, TimeoutError, *UNREADABLE):
            self._on_answer(endpoint, "silent")
            return
        is_right = self._answers.setdefault((card, model), answer) == answer
        if not is_right and not endpoint.is_wrong:
            endpoint.lose(WRONG)
        endpoint.is_wrong = not is_right
        self._on_answer(endpoint, "right" if is_right else "wrong")

    async def _answer(self, endpoint: Endpoint, model: str) -> bytes:
        """A salt of its own keeps the prefix cache out: the answer is computed."""
        body = {
            "model": model,
            "prompt": PROMPT,
            "max_tokens": MAX_TOKENS,
            "temperature": 0,
            "logprobs": 0,
            "cache_salt": secrets.token_hex(8),
        }
        async with asyncio.timeout(self._timeout_seconds):
            answer = await endpoint.upstream.request(
                "POST",
                KNOWN_ANSWER_PATH,
                self._headers,
                json.dumps(body).encode(),
                seconds=self._timeout_seconds,
            )
            try:
                data = await answer.read_all(self._timeout_seconds, MAX_ANSWER_BYTES)
            finally:
                answer.close()
        if answer.status != 200:
            raise UpstreamError("garbage", f"{KNOWN_ANSWER_PATH} answers {answer.status}")
        choice = msgspec.json.decode(data, type=_Completion).choices[0]
        return choice.text.encode() + b"\0" + bytes(choice.logprobs)
