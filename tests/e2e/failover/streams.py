"""Streams of every kind at once, read as a client does, and what two runs of the same ones must share."""

import asyncio
import collections
import dataclasses
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx2

Body = Mapping[str, Any]
Disturb = Callable[["Progress"], Awaitable[None]]
LONG_LIST = {"type": "array", "items": {"type": "string", "maxLength": 12}, "minItems": 50}
TOOL = {
    "type": "function",
    "function": {
        "name": "remember",
        "parameters": {"type": "object", "properties": {"words": LONG_LIST}, "required": ["words"]},
    },
}
HELD_BACK = ("stop string", "tools")  # kinds whose text waits for what follows it, fault or not
STOP_FRACTION = 0.3  # of an answer's characters: where its stop string begins
STOP_LENGTH = 0.5  # and how much of it that is


@dataclasses.dataclass(frozen=True)
class Asked:
    kind: str
    path: str
    body: Body


def mixed(per_kind: int, max_tokens: int) -> list[Asked]:
    """Greedy, penalties, several choices, log-probabilities, JSON by a schema; per_kind of each. Every other
    one with a schema is the call of a tool, in a chat. The greedy ones are three times as long, so that
    neither they nor those that stop in the middle of them are at their ends when all others have begun."""
    kinds: dict[str, Body] = {
        "greedy": {"temperature": 0, "max_tokens": 3 * max_tokens},
        "penalties": {"temperature": 0.7, "presence_penalty": 0.6, "frequency_penalty": 0.4,
                      "repetition_penalty": 1.1},
        "n = 3": {"temperature": 0.8, "n": 3},
        "logprobs": {"temperature": 0.5, "logprobs": 3},
        "schema": {"temperature": 0.9, "top_p": 0.95, "guided_json": LONG_LIST},
    }  # fmt: skip
    common = {"model": "default", "stream": True, "stream_options": {"include_usage": True},
              "ignore_eos": True, "max_tokens": max_tokens}  # fmt: skip
    return [
        _tool_call(n, common)
        if kind == "schema" and n % 2
        else Asked(
            kind, "/v1/completions", {**common, **body, "seed": n, "prompt": f"Chapter {n}. {kind} is"}
        )
        for kind, body in kinds.items()
        for n in range(per_kind)
    ]


def _tool_call(number: int, common: Body) -> Asked:
    messages = [{"role": "user", "content": f"Remember the words of chapter {number}."}]
    body = {"messages": messages, "tools": [TOOL], "tool_choice": "required", "temperature": 0.9}
    return Asked("tools", "/v1/chat/completions", {**common, **body, "seed": number})


def stopped(asked: Sequence[Asked], answers: Sequence["Answer"]) -> list[Asked]:
    """The same, with a stop string out of the middle of each one's answer: long, so that its text is held
    back for half of the time, and a break of the stream splits it."""
    made = []
    for one, answer in zip(asked, answers, strict=True):
        text = answer.texts[0]
        begin, length = int(len(text) * STOP_FRACTION), int(len(text) * STOP_LENGTH)
        made.append(Asked("stop string", one.path, {**one.body, "stop": [text[begin : begin + length]]}))
    return made


@dataclasses.dataclass
class Answer:
    """What a client has in the end. Two runs of a request share all but longest_pause."""

    texts: dict[int, str] = dataclasses.field(default_factory=lambda: collections.defaultdict(str))
    finish_reasons: dict[int, str] = dataclasses.field(default_factory=dict)
    logprobs: dict[int, list[Any]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    usage: tuple[int, int] | None = None  # tokens of the prompt and of the answer
    is_done: bool = False
    error: str | None = None
    num_identities: int = 0
    longest_pause: float = dataclasses.field(default=0.0, compare=False)  # seconds
    identities: set[tuple[str, int]] = dataclasses.field(default_factory=set, compare=False)

    def add(self, chunk: dict[str, Any]) -> None:
        if "error" in chunk:
            self.error = chunk["error"]["code"] or chunk["error"]["message"]
            return
        self.identities.add((chunk["id"], chunk["created"]))
        self.num_identities = len(self.identities)
        for choice in chunk["choices"]:
            index = choice["index"]
            self.texts[index] += _text_of(choice)
            if choice["logprobs"] is not None:
                parts = choice["logprobs"]
                self.logprobs[index] += zip(parts["tokens"], parts["token_logprobs"], strict=True)
            if choice["finish_reason"] is not None:
                self.finish_reasons[index] = choice["finish_reason"]
        if chunk.get("usage"):
            self.usage = (chunk["usage"]["prompt_tokens"], chunk["usage"]["completion_tokens"])

    @property
    def is_whole(self) -> bool:
        return self.error is None and self.is_done and self.usage is not None and self.num_identities == 1


def _text_of(choice: dict[str, Any]) -> str:
    """What a chunk adds to a text, or to a message with its calls."""
    if "text" in choice:
        return str(choice["text"])
    functions = [call["function"] for call in choice["delta"].get("tool_calls") or ()]
    calls = [f"{function.get('name') or ''}{function['arguments']}" for function in functions]
    return "".join([choice["delta"].get("content") or "", *calls])


@dataclasses.dataclass
class Progress:
    """Of a run: each answer so far, and whose it is, as the router calls its endpoints."""

    answers: list[Answer]
    endpoints: list[str]


async def _nothing(progress: Progress) -> None:
    pass


async def run(base: str, asked: Sequence[Asked], disturb: Disturb = _nothing) -> list[Answer]:
    """All at once; disturb is called after every piece of an answer."""
    progress = Progress([Answer() for _ in asked], [""] * len(asked))

    async def one(client: httpx2.AsyncClient, number: int) -> None:
        question, answer = asked[number], progress.answers[number]
        last: float | None = None
        async with client.stream("POST", question.path, json=dict(question.body)) as response:
            if response.status_code != 200:
                answer.error = f"status {response.status_code}: {(await response.aread())[:300]!r}"
                return
            progress.endpoints[number] = response.headers["x-octavo-route"].partition(";")[0]
            async for line in response.aiter_lines():
                if not line.startswith("data: "):
                    continue
                now = time.monotonic()
                answer.longest_pause = max(answer.longest_pause, now - (last or now))
                last = now
                if line == "data: [DONE]":
                    answer.is_done = True
                    continue
                answer.add(json.loads(line[6:]))
                await disturb(progress)

    async with httpx2.AsyncClient(base_url=base, timeout=120, limits=httpx2.Limits()) as client:
        await asyncio.gather(*(one(client, number) for number in range(len(asked))))
    return progress.answers


def differences(asked: Sequence[Asked], got: Sequence[Answer], expected: Sequence[Answer]) -> list[str]:
    """Which streams are not what they should be, and in what; none of them, if all is well."""
    return [
        f"{question.kind} {question.body['seed']}: {field.name} is {was!r}, not {should!r}"
        for question, one, other in zip(asked, got, expected, strict=True)
        for field in dataclasses.fields(Answer)
        if field.compare and (was := getattr(one, field.name)) != (should := getattr(other, field.name))
    ]


def pauses(asked: Sequence[Asked], answers: Sequence[Answer]) -> tuple[float, float]:
    """Seconds: the median and the 99th percentile of each answer's longest pause, of the answers whose text
    leaves as it is computed."""
    rows = zip(asked, answers, strict=True)
    ordered = sorted(answer.longest_pause for question, answer in rows if question.kind not in HELD_BACK)
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
