"""One request of the soak on its way: sent, read, left or judged."""

import asyncio
import dataclasses
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import httpx2

from tests.soak.asked import EMBEDDINGS, Asked, Fate

JSON = {"content-type": "application/json"}
LEAVE_SECONDS = (0.001, 0.01, 0.05, 0.2)  # after how long a client without a stream goes away


class Wrong(Exception):
    """An answer that must not be; the message says what is wrong with it."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """What a client has in the end, however it came."""

    text: str
    finish_reason: str
    token_ids: tuple[int, ...]  # if they were asked for
    logprobs: str  # JSON: the lists of all events, one behind the other
    prompt_logprobs: str = ""  # JSON
    reasoning: str = ""
    calls: tuple[tuple[str, str], ...] = ()  # name, arguments


async def exchange(client: httpx2.AsyncClient, asked: Asked, rng: random.Random) -> list[Choice]:
    """The choices of an answered request, and nothing of others. Raises Wrong."""
    if asked.fate is Fate.LEFT:
        await _leave(client, asked, rng)
        return []
    if asked.is_stream:
        return await _streamed(client, asked)
    response = await client.post(asked.path, content=asked.body, headers=JSON)
    if asked.fate is Fate.REFUSED:
        _check_refused(response)
        return []
    _check(response.status_code == 200, f"status {response.status_code}: {response.text[:300]}")
    return _whole(response.json(), asked)


def _check(holds: bool, complaint: str) -> None:
    if not holds:
        raise Wrong(complaint)


def _check_refused(response: httpx2.Response) -> None:
    _check(400 <= response.status_code < 500, f"status {response.status_code} for a bad request")
    error = response.json()["error"]
    _check(set(error) == {"message", "type", "param", "code"} and bool(error["message"]), f"error {error}")


def _whole(answer: Any, asked: Asked) -> list[Choice]:
    if asked.path == EMBEDDINGS:
        return _embeddings(answer, asked)
    choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
    _check(len(choices) == asked.num_choices, f"{len(choices)} choices, not {asked.num_choices}")
    _check_usage(answer["usage"], asked)
    return [_whole_choice(choice) for choice in choices]


def _whole_choice(choice: Any) -> Choice:
    message = choice.get("message", {})
    calls = [call["function"] for call in message.get("tool_calls", ())]
    return _checked(
        Choice(
            (message["content"] or "") if message else choice["text"],
            choice["finish_reason"],
            tuple(choice.get("token_ids") or ()),
            json.dumps(choice.get("logprobs")),
            json.dumps(choice.get("prompt_logprobs")),
            message.get("reasoning_content", ""),
            tuple((call["name"], call["arguments"]) for call in calls),
        )
    )


def _embeddings(answer: Any, asked: Asked) -> list[Choice]:
    vectors = [item["embedding"] for item in answer["data"]]
    _check(len(vectors) == asked.num_choices, f"{len(vectors)} embeddings, not {asked.num_choices}")
    return [Choice(json.dumps(vector), "stop", (), "") for vector in vectors]


def _checked(choice: Choice) -> Choice:
    _check(choice.finish_reason in ("stop", "length", "tool_calls"), f"finish_reason {choice.finish_reason}")
    return choice


def _check_usage(usage: Any, asked: Asked) -> None:
    limit = asked.num_choices * asked.max_tokens
    if b'"best_of"' not in asked.body:
        _check(0 < usage["completion_tokens"] <= limit, f"{usage} where max_tokens are {limit}")
    _check(usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"], f"{usage}")


class _Growing:
    """A choice of a stream."""

    def __init__(self) -> None:
        self.text = self.finish_reason = self.reasoning = ""
        self.token_ids: list[int] = []
        self.logprobs: dict[str, Any] = {}
        self.calls: list[tuple[str, str]] = []

    def take(self, choice: Any) -> None:
        _check(not self.finish_reason, "an event after a choice's end")
        delta = choice.get("delta", {})
        self.text += delta.get("content") or choice.get("text", "")
        self.reasoning += delta.get("reasoning_content", "")
        for call in delta.get("tool_calls", ()):
            self._take_call(call["index"], call["function"])
        self.finish_reason = choice["finish_reason"] or ""
        self.token_ids += choice.get("token_ids") or ()
        for name, values in (choice.get("logprobs") or {}).items():
            self.logprobs[name] = (self.logprobs.get(name) or []) + (values or [])

    def _take_call(self, index: int, function: Any) -> None:
        if "name" in function:
            _check(index == len(self.calls), f"call {index} after {len(self.calls)}")
            self.calls.append((function["name"], ""))
        name, arguments = self.calls[index]
        self.calls[index] = (name, arguments + function.get("arguments", ""))

    def choice(self) -> Choice:
        return _checked(
            Choice(
                self.text,
                self.finish_reason,
                tuple(self.token_ids),
                json.dumps(self.logprobs),
                reasoning=self.reasoning,
                calls=tuple(self.calls),
            )
        )


async def _streamed(client: httpx2.AsyncClient, asked: Asked) -> list[Choice]:
    growing = [_Growing() for _ in range(asked.num_choices)]
    is_done = False
    async with client.stream("POST", asked.path, content=asked.body, headers=JSON) as response:
        _check(response.status_code == 200, f"status {response.status_code} for a stream")
        async for line in _lines(response):
            if not line.startswith("data: "):
                continue
            _check(not is_done, "an event after [DONE]")
            if line == "data: [DONE]":
                is_done = True
                continue
            event = json.loads(line[6:])
            _check("error" not in event, f"{event}")
            if event.get("usage"):
                _check_usage(event["usage"], asked)
            for choice in event["choices"]:
                growing[choice["index"]].take(choice)
    _check(is_done, "a stream without [DONE]")
    return [item.choice() for item in growing]


async def _lines(response: httpx2.Response) -> AsyncIterator[str]:
    """As the specification of server-sent events has them; the client's own end at U+0085 too, say."""
    pending = b""
    async for received in response.aiter_bytes():
        *lines, pending = (pending + received).split(b"\n")
        for line in lines:
            yield line.decode()
    _check(not pending, f"an unfinished line {pending[:100]!r}")


async def _leave(client: httpx2.AsyncClient, asked: Asked, rng: random.Random) -> None:
    if not asked.is_stream:
        try:
            request = client.post(asked.path, content=asked.body, headers=JSON)
            response = await asyncio.wait_for(request, rng.choice(LEAVE_SECONDS))
        except TimeoutError:
            return
        _check(response.status_code == 200, f"status {response.status_code}: {response.text[:300]}")
        return
    num_lines = rng.randrange(12)
    async with client.stream("POST", asked.path, content=asked.body, headers=JSON) as response:
        _check(response.status_code == 200, f"status {response.status_code} for a stream")
        async for _ in _lines(response):
            num_lines -= 1
            if num_lines < 0:
                return
