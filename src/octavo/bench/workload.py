"""What is asked: sessions of requests, each built from random words or tokens, or read from a trace.

A session is a generator: it yields a request, is sent the answer's text, and may yield the next turn. All
randomness comes from one seed; with the same seed the same requests are asked. Knows nothing of HTTP.
"""

import dataclasses
import itertools
import pathlib
import random
from collections.abc import Generator, Iterator, Sequence
from typing import Protocol

import msgspec

from octavo.core.errors import StartError

Message = dict[str, str]
Content = str | list[int] | list[Message]  # a prompt as text or token ids, or a conversation

TOKEN_IDS = (100, 30_000)  # beyond the special tokens of the usual vocabularies, and inside all of them
# Short words that the usual tokenizers take for one token each, so that words count about as tokens.
WORDS = (
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school",
    "state", "family", "student", "group", "country", "problem", "hand", "part", "place", "case",
    "week", "company", "system", "program", "question", "work", "number", "night", "point", "home",
    "water", "room", "mother", "area", "money", "story", "fact", "month", "lot", "right", "study",
    "book", "eye", "job", "word", "business", "issue", "side", "kind", "head", "house", "service",
    "friend", "father", "power", "hour", "game", "line", "end", "member", "law", "car", "city", "name",
    "team", "minute", "idea",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    content: Content
    max_tokens: int


Session = Generator[Request, str, None]


@dataclasses.dataclass(frozen=True, slots=True)
class Planned:
    """A session, and when it arrives: seconds after the load began; None: whenever the load says."""

    session: Session
    arrival: float | None = None


class Workload(Protocol):
    def sessions(self) -> Iterator[Planned]:
        """Without end, or as long as a trace is."""

    @property
    def requests_per_session(self) -> int: ...

    def describe(self) -> dict[str, str | int | float | bool | None]:
        """For Report.workload."""


@dataclasses.dataclass(frozen=True, slots=True)
class Length:
    """Of a prompt or an answer in tokens: uniform from low to high."""

    low: int
    high: int

    @classmethod
    def parse(cls, flag: str, text: str) -> "Length":
        """ "128", or "100-1024". Raises StartError."""
        low, dash, high = text.partition("-")
        high = high if dash else low
        if not (low.isdecimal() and high.isdecimal() and 1 <= int(low) <= int(high)):
            raise StartError(f"{flag} is {text!r}; allowed: a number above 0, or a range like 100-1024.")
        return cls(int(low), int(high))

    def draw(self, rng: random.Random) -> int:
        return rng.randint(self.low, self.high)

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


class Prompts:
    """Random content of a given length: token ids, words, or a conversation of one message."""

    def __init__(self, kind: str, rng: random.Random) -> None:
        assert kind in ("tokens", "words", "chat")
        self._kind = kind
        self._rng = rng

    def words(self, count: int) -> str:
        return " ".join(self._rng.choices(WORDS, k=count))

    def content(self, count: int, prefix: Content | None = None) -> Content:
        """count tokens (of words, about so many), behind a prefix of the same kind."""
        if self._kind == "tokens":
            tokens = [self._rng.randrange(*TOKEN_IDS) for _ in range(count)]
            return [*prefix, *tokens] if isinstance(prefix, list) else tokens
        text = self.words(count)
        if self._kind == "words":
            return f"{prefix} {text}" if prefix is not None else text
        message = {"role": "user", "content": text}
        return [*prefix, message] if isinstance(prefix, list) else [message]

    def prefix(self, count: int) -> Content:
        """What prompts have in common: for chat a system message."""
        if self._kind == "chat":
            return [{"role": "system", "content": self.words(count)}]
        return self.content(count)


def _one(request: Request) -> Session:
    yield request


@dataclasses.dataclass(frozen=True, slots=True)
class RandomWorkload:
    """Prompts that have nothing in common."""

    kind: str
    input_tokens: Length
    output_tokens: Length
    seed: int

    requests_per_session = 1

    def sessions(self) -> Iterator[Planned]:
        rng = random.Random(self.seed)
        prompts = Prompts(self.kind, rng)
        while True:
            content = prompts.content(self.input_tokens.draw(rng))
            yield Planned(_one(Request(content, self.output_tokens.draw(rng))))

    def describe(self) -> dict[str, str | int | float | bool | None]:
        return {
            "kind": "random",
            "prompts": self.kind,
            "input_tokens": str(self.input_tokens),
            "output_tokens": str(self.output_tokens),
            "seed": self.seed,
        }


@dataclasses.dataclass(frozen=True, slots=True)
class SharedPrefixWorkload:
    """Prompts that begin with one of a few long prefixes, as with system prompts; each is as likely."""

    kind: str
    num_prefixes: int
    prefix_tokens: int
    input_tokens: Length  # behind the prefix
    output_tokens: Length
    seed: int

    requests_per_session = 1

    def sessions(self) -> Iterator[Planned]:
        rng = random.Random(self.seed)
        prompts = Prompts(self.kind, rng)
        prefixes = [prompts.prefix(self.prefix_tokens) for _ in range(self.num_prefixes)]
        while True:
            content = prompts.content(self.input_tokens.draw(rng), rng.choice(prefixes))
            yield Planned(_one(Request(content, self.output_tokens.draw(rng))))

    def describe(self) -> dict[str, str | int | float | bool | None]:
        return {
            "kind": "shared-prefix",
            "prompts": self.kind,
            "num_prefixes": self.num_prefixes,
            "prefix_tokens": self.prefix_tokens,
            "input_tokens": str(self.input_tokens),
            "output_tokens": str(self.output_tokens),
            "seed": self.seed,
        }


@dataclasses.dataclass(frozen=True, slots=True)
class MultiTurnWorkload:
    """Conversations: each turn repeats all before it, the server's own answers included, and asks on."""

    is_chat: bool
    turns: int
    input_tokens: Length  # of each turn's question
    output_tokens: Length
    seed: int

    @property
    def requests_per_session(self) -> int:
        return self.turns

    def sessions(self) -> Iterator[Planned]:
        for number in itertools.count():
            yield Planned(self._session(random.Random(f"{self.seed} {number}")))

    def _session(self, rng: random.Random) -> Session:
        prompts = Prompts("chat" if self.is_chat else "words", rng)
        content = prompts.content(self.input_tokens.draw(rng))
        for turn in range(self.turns):
            answer = yield Request(content, self.output_tokens.draw(rng))
            if turn + 1 < self.turns:
                content = prompts.content(self.input_tokens.draw(rng), _answered(content, answer))

    def describe(self) -> dict[str, str | int | float | bool | None]:
        return {
            "kind": "multi-turn",
            "prompts": "chat" if self.is_chat else "words",
            "turns": self.turns,
            "input_tokens": str(self.input_tokens),
            "output_tokens": str(self.output_tokens),
            "seed": self.seed,
        }


def _answered(content: Content, answer: str) -> Content:
    if isinstance(content, str):
        return f"{content}\n{answer}\n"
    return [*content, {"role": "assistant", "content": answer}]


class TraceLine(msgspec.Struct):
    """A line of a trace. What is asked: prompt, messages, or random tokens; hash_ids are its blocks of 512
    tokens by name, so that lines that share names share beginnings (the format of Mooncake's traces)."""

    output_length: int
    timestamp: float | None = None  # milliseconds after the first line
    input_length: int | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    hash_ids: list[int] | None = None


TRACE_BLOCK_TOKENS = 512


@dataclasses.dataclass(frozen=True, slots=True)
class TraceWorkload:
    """Requests of a file, in its order and, in an open loop, at its times divided by speed."""

    path: pathlib.Path
    lines: Sequence[TraceLine]
    kind: str
    speed: float
    seed: int

    requests_per_session = 1

    @classmethod
    def read(cls, path: pathlib.Path, kind: str, *, speed: float = 1.0, seed: int = 0) -> "TraceWorkload":
        """Raises StartError: the file is not there, or a line is not one of a trace."""
        try:
            rows = path.read_bytes().splitlines()
        except OSError as error:
            raise StartError(f"The trace cannot be read: {error}.") from None
        lines = [_trace_line(path, number, row) for number, row in enumerate(rows, 1) if row.strip()]
        if not lines:
            raise StartError(f"{path} holds no line of a trace.")
        return cls(path, lines, kind, speed, seed)

    @property
    def has_times(self) -> bool:
        return all(line.timestamp is not None for line in self.lines)

    def sessions(self) -> Iterator[Planned]:
        first = min(line.timestamp or 0.0 for line in self.lines)
        for number, line in enumerate(self.lines):
            arrival = None if line.timestamp is None else (line.timestamp - first) / 1000 / self.speed
            yield Planned(_one(Request(self._content(number, line), line.output_length)), arrival)

    def _content(self, number: int, line: TraceLine) -> Content:
        if line.messages is not None:
            return line.messages
        if line.prompt is not None:
            return [{"role": "user", "content": line.prompt}] if self.kind == "chat" else line.prompt
        blocks = list(line.hash_ids or [])
        pieces: list[Content] = []
        left = line.input_length or 0
        for name in blocks:
            prompts = Prompts(
                "words" if self.kind == "chat" else self.kind, random.Random(f"{self.seed} {name}")
            )
            pieces.append(prompts.content(min(left, TRACE_BLOCK_TOKENS)))
            left -= min(left, TRACE_BLOCK_TOKENS)
        if left:
            prompts = Prompts(
                "words" if self.kind == "chat" else self.kind, random.Random(f"{self.seed} line {number}")
            )
            pieces.append(prompts.content(left))
        return _joined(pieces, self.kind)

    def describe(self) -> dict[str, str | int | float | bool | None]:
        return {
            "kind": "trace",
            "prompts": self.kind,
            "file": self.path.name,
            "lines": len(self.lines),
            "speed": self.speed,
            "seed": self.seed,
        }


def _joined(pieces: Sequence[Content], kind: str) -> Content:
    if kind == "tokens":
        return [token for piece in pieces for token in piece if isinstance(token, int)]
    text = " ".join(str(piece) for piece in pieces)
    return [{"role": "user", "content": text}] if kind == "chat" else text


def _trace_line(path: pathlib.Path, number: int, row: bytes) -> TraceLine:
    try:
        line = msgspec.json.decode(row, type=TraceLine)
    except msgspec.DecodeError as error:
        raise StartError(f"{path}, line {number}: {error}.") from None
    if line.output_length < 1:
        raise StartError(f"{path}, line {number}: output_length is {line.output_length}; allowed: 1 or more.")
    if line.prompt is None and line.messages is None and not (line.input_length or 0) > 0:
        raise StartError(f"{path}, line {number}: one of prompt, messages and input_length is needed.")
    return line
