"""What the soak asks: random requests with every parameter that the server honours, bad ones, witnesses."""

import dataclasses
import enum
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

from octavo.server.parameters import Api, Kind, parameters_of

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
_APIS = {CHAT: Api.CHAT, COMPLETIONS: Api.COMPLETIONS}
_TEXT = "the road to a small house in winter where nobody had ever seen so many birds at once"
_WORDS = _TEXT.split()


class Fate(enum.StrEnum):
    """What happens to a request, and so what must come of it."""

    ANSWERED = "answered"  # 200, and a whole answer
    REFUSED = "refused"  # 4xx, and OpenAI's error
    LEFT = "left"  # its client goes away in the middle


@dataclasses.dataclass(frozen=True)
class Asked:
    path: str
    body: bytes
    fate: Fate
    num_choices: int = 1
    max_tokens: int = 0
    is_stream: bool = False


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    vocab_size: int
    max_model_len: int


Draw = Callable[[random.Random, ModelFacts], Any]


def _ids(rng: random.Random, facts: ModelFacts, count: int) -> list[int]:
    return rng.sample(range(facts.vocab_size), count)


# Field -> a value that is allowed beside any others.
_FIELDS: Mapping[str, Draw] = {
    "temperature": lambda rng, _: rng.choice((0, 0, 0.5, 1, 1.7)),
    "top_p": lambda rng, _: rng.choice((0.1, 0.9, 1)),
    "top_k": lambda rng, _: rng.choice((-1, 0, 1, 40)),
    "min_p": lambda rng, _: rng.choice((0, 0.05, 0.5)),
    "presence_penalty": lambda rng, _: rng.uniform(-2, 2),
    "frequency_penalty": lambda rng, _: rng.uniform(-2, 2),
    "repetition_penalty": lambda rng, _: rng.choice((0.9, 1.1, 2)),
    "logit_bias": lambda rng, facts: {str(i): rng.uniform(-100, 100) for i in _ids(rng, facts, 5)},
    "allowed_token_ids": lambda rng, facts: _ids(rng, facts, 100),
    "seed": lambda rng, _: rng.randrange(-(2**63) + 1, 2**63),
    "stop": lambda rng, _: rng.choice(("e", ["th", "road "], "\n")),
    "stop_token_ids": lambda rng, facts: _ids(rng, facts, 3),
    "ignore_eos": lambda rng, _: rng.random() < 0.5,
    "skip_special_tokens": lambda rng, _: rng.random() < 0.5,
    "cache_salt": lambda rng, _: rng.choice(("one", "two")),
    "user": lambda rng, _: "soak",
    "return_token_ids": lambda rng, _: True,
    "return_tokens_as_token_ids": lambda rng, _: True,
    "bad_words": lambda rng, _: [rng.choice(_WORDS), "a"],
}
_IN_BODY = ("model", "messages", "prompt", "max_tokens", "max_completion_tokens", "n", "stream")
_IN_PLACES = (
    "stream_options",
    "min_tokens",
    "logprobs",
    "top_logprobs",
    "prompt_logprobs",
    "echo",
    "best_of",
)
_GRAMMARS: Mapping[str, Any] = {
    "guided_choice": ["yes", "no", "perhaps"],
    "guided_regex": "[a-z ]{3,90}",
    "response_format": {"type": "json_object"},
}
_HINDRANCES = ("allowed_token_ids", "bad_words", "min_tokens")  # which with a grammar may leave no token


def never_asked() -> list[str]:
    """Honoured parameters that no request of the soak has."""
    known = {*_FIELDS, *_IN_BODY, *_IN_PLACES, *_GRAMMARS}
    names = {name for api in Api for name, item in parameters_of(api).items() if item.kind is Kind.HONOURED}
    return sorted(names - known)


def _honours(path: str, name: str) -> bool:
    parameter = parameters_of(_APIS[path]).get(name)
    return parameter is not None and parameter.kind is not Kind.REFUSED


class Asker:
    """The same requests for the same seed."""

    def __init__(self, seed: int, facts: ModelFacts) -> None:
        self._rng = random.Random(seed)
        self._facts = facts
        self._prefixes = [self._words(60) for _ in range(8)]  # that many prompts share

    def next(self) -> Asked:
        rng = self._rng
        if rng.random() < 0.1:
            return self._refused()
        asked = self._answered()
        if rng.random() < 0.15:
            return dataclasses.replace(asked, fate=Fate.LEFT)
        return asked

    def _answered(self) -> Asked:
        rng = self._rng
        path = rng.choice((CHAT, COMPLETIONS))
        body, num_prompts = self._body(path)
        for name, draw in _FIELDS.items():
            if rng.random() < 0.2 and _honours(path, name):
                body[name] = draw(rng, self._facts)
        n = body["n"] = rng.choice((1, 1, 1, 1, 2, 3, 5))
        is_stream = body["stream"] = rng.random() < 0.5
        self._add_dependent(path, body)
        return Asked(
            path, json.dumps(body).encode(), Fate.ANSWERED, n * num_prompts, body["max_tokens"], is_stream
        )

    def _body(self, path: str) -> tuple[dict[str, Any], int]:
        """A prompt of up to some 80 words or 150 tokens, and how many prompts that is."""
        rng = self._rng
        max_tokens = rng.choice((1, 2, 8, 24, 60, 120))
        body: dict[str, Any] = {"model": "default", "max_tokens": max_tokens}
        if path == CHAT:
            count = rng.choice((1, 1, 3))
            texts = [self._text(60 // count) for _ in range(count)]
            roles = ("user", "assistant")
            body["messages"] = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
            return body, 1
        kind = rng.random()
        if kind < 0.4:
            body["prompt"] = _ids(rng, self._facts, rng.randrange(1, 150))
            return body, 1
        texts = [self._text(60) for _ in range(1 if kind < 0.9 else 3)]
        body["prompt"] = texts[0] if len(texts) == 1 else texts
        return body, len(texts)

    def _add_dependent(self, path: str, body: dict[str, Any]) -> None:
        """Parameters whose values depend on others."""
        rng = self._rng
        if body["stream"] and rng.random() < 0.5:
            body["stream_options"] = {"include_usage": True}
        if rng.random() < 0.2 and "allowed_token_ids" not in body:
            body["min_tokens"] = rng.randrange(body["max_tokens"] + 1)
        if rng.random() < 0.3 and _honours(path, "logprobs"):
            body |= {"logprobs": True, "top_logprobs": 3} if path == CHAT else {"logprobs": 2}
        if rng.random() < 0.1 and not body["stream"] and _honours(path, "prompt_logprobs"):
            body["prompt_logprobs"] = rng.randrange(3)
        if rng.random() < 0.1 and path == COMPLETIONS and _honours(path, "echo"):
            body["echo"] = True
        if rng.random() < 0.1 and not body["stream"] and _honours(path, "best_of"):
            body["best_of"] = body["n"] + rng.randrange(3)
        grammar = rng.choice(list(_GRAMMARS))
        if rng.random() < 0.1 and body.keys().isdisjoint(_HINDRANCES) and _honours(path, grammar):
            body[grammar] = _GRAMMARS[grammar]

    def _text(self, most: int) -> str:
        rng = self._rng
        prefix = rng.choice(self._prefixes)[: rng.choice((0, rng.randrange(most)))]
        return " ".join([*prefix, *self._words(rng.randrange(1, 5))])

    def _words(self, count: int) -> list[str]:
        return [self._rng.choice(_WORDS) for _ in range(count)]

    def _refused(self) -> Asked:
        rng = self._rng
        path = rng.choice((CHAT, COMPLETIONS))
        body, _ = self._body(path)
        bad = rng.choice(_BAD)
        return Asked(path, bad(body, self._facts), Fate.REFUSED)


def _changed(**changes: Any) -> Callable[[dict[str, Any], ModelFacts], bytes]:
    return lambda body, facts: json.dumps(body | changes).encode()


_BAD: tuple[Callable[[dict[str, Any], ModelFacts], bytes], ...] = (
    _changed(temperature=-1),
    _changed(n=0),
    _changed(n=10_000),
    _changed(top_p="much"),
    _changed(no_such_field=1),
    _changed(model="another"),
    _changed(max_tokens=0),
    _changed(max_tokens=10**9),
    _changed(min_tokens=10**6),
    _changed(logit_bias={"x": 1}),
    _changed(stop=["a"] * 65),
    _changed(messages=[], prompt=""),
    lambda body, facts: json.dumps(body | {"stop_token_ids": [facts.vocab_size]}).encode(),
    lambda body, facts: json.dumps(body).encode()[:-2],
    lambda body, facts: b"\xff" * 1000,
)


def witnesses(facts: ModelFacts) -> list[Asked]:
    """Requests of each kind, whose answers are known before the soak begins."""
    prompt = _TEXT
    ids = [(7 * i + 3) % 200 for i in range(75)]
    allowed = list(range(32, 127))
    found = [
        _witness(COMPLETIONS, prompt=prompt, temperature=0),
        _witness(COMPLETIONS, prompt=ids, temperature=1.2, seed=5, top_p=0.95, stream=True),
        _witness(COMPLETIONS, prompt=ids, temperature=0, frequency_penalty=0.6, repetition_penalty=1.2),
        _witness(CHAT, messages=[{"role": "user", "content": prompt}], seed=9, allowed_token_ids=allowed),
        _witness(CHAT, messages=[{"role": "user", "content": prompt}], seed=3, n=3),
        _witness(
            COMPLETIONS, prompt=[prompt, "a"], n=2, seed=4, logit_bias={"70": 3.0}, min_tokens=9, stop="e"
        ),
    ]
    if _honours(COMPLETIONS, "logprobs"):
        found.append(_witness(COMPLETIONS, prompt=prompt, seed=8, logprobs=4))
    if _honours(CHAT, "logprobs"):
        messages = [{"role": "user", "content": "a road"}]
        found.append(_witness(CHAT, messages=messages, seed=1, logprobs=True, top_logprobs=2, stream=True))
    return found


def _witness(path: str, *, n: int = 1, stream: bool = False, **fields: Any) -> Asked:
    max_tokens = 32
    body = {"model": "default", "max_tokens": max_tokens, "ignore_eos": True, "n": n, "stream": stream}
    if _honours(path, "return_token_ids"):
        body["return_token_ids"] = True
    num_prompts = len(fields["prompt"]) if isinstance(fields.get("prompt", [0])[0], str) else 1
    num_choices = n * (num_prompts if isinstance(fields.get("prompt"), list) else 1)
    return Asked(path, json.dumps(body | fields).encode(), Fate.ANSWERED, num_choices, max_tokens, stream)
