"""What the soak asks: random requests with every parameter that the server honours, and bad ones."""

import dataclasses
import enum
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

from octavo.server.parameters import Api, Kind, parameters_of

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
TEXT = "the road to a small house in winter where nobody had ever seen so many birds at once"
_WORDS = TEXT.split()


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
    """reasons: in tags; fills_in: knows a suffix; has_documents: its template reads them."""

    vocab_size: int
    max_model_len: int
    reasons: bool
    fills_in: bool
    has_documents: bool


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
    "include_stop_str_in_output": lambda rng, _: rng.random() < 0.5,
    "stop_token_ids": lambda rng, facts: _ids(rng, facts, 3),
    "ignore_eos": lambda rng, _: rng.random() < 0.5,
    "skip_special_tokens": lambda rng, _: rng.random() < 0.5,
    "cache_salt": lambda rng, _: rng.choice(("one", "two")),
    "user": lambda rng, _: "soak",
    "return_token_ids": lambda rng, _: True,
    "return_tokens_as_token_ids": lambda rng, _: True,
    "bad_words": lambda rng, _: [rng.choice(_WORDS), "a"],
    "priority": lambda rng, _: rng.choice((0, 0, 1, 7)),
    "octavo": lambda rng, _: {"explain": rng.random() < 0.5},
    "truncate_prompt_tokens": lambda rng, _: rng.choice((-1, 1, 17, 48)),
    "parallel_tool_calls": lambda rng, _: rng.random() < 0.5,
    "include_reasoning": lambda rng, _: rng.random() < 0.5,
}
_SCHEMA = {
    "type": "object",
    "properties": {"place": {"enum": ["house", "road"]}, "birds": {"type": "integer", "maximum": 99}},
    "required": ["place"],
    "additionalProperties": False,
}
# How the answer has to look; one of these.
_GRAMMARS: tuple[Mapping[str, Any], ...] = (
    {"guided_choice": ["yes", "no", "perhaps"]},
    {"guided_regex": "[a-z ]{3,90}"},
    {"guided_grammar": 'root ::= ("bird" | "road ")+ "."'},
    {"guided_json": _SCHEMA, "guided_whitespace_pattern": "[ ]{0,2}"},
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": _SCHEMA}}},
    {"structured_outputs": {"choice": ["a road", "a house"]}},
)
TOOLS = [
    {"type": "function", "function": {"name": "look", "parameters": _SCHEMA, "strict": True}},
    {"type": "function", "function": {"name": "wait"}},
]
_LOOK = {"type": "function", "function": {"name": "look"}}
_TOOL_CHOICES = (
    "auto",
    "none",
    "required",
    _LOOK,
    {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [_LOOK]}},
)
# One of these, for a model that reasons.
_REASONING: tuple[Mapping[str, Any], ...] = (
    {"enable_thinking": True},
    {"enable_thinking": False},
    {"thinking_token_budget": 0},
    {"thinking_token_budget": 9},
    {"thinking_budget": -1},
    {"reasoning_effort": "none"},
    {"reasoning_effort": "minimal"},
    {"chat_template_kwargs": {"enable_thinking": False}},
)
_HINDRANCES = ("allowed_token_ids", "bad_words", "min_tokens")  # which with a grammar may leave no token
_IN_PLACES = (
    "model", "messages", "prompt", "max_tokens", "max_completion_tokens", "n", "stream", "stream_options",
    "min_tokens", "logprobs", "top_logprobs", "prompt_logprobs", "echo", "best_of", "suffix", "documents",
    "add_generation_prompt", "continue_final_message", "tools", "tool_choice",
)  # fmt: skip


def never_asked() -> list[str]:
    """Honoured parameters that no request of the soak has."""
    known = {*_FIELDS, *_IN_PLACES}.union(*_GRAMMARS, *_REASONING)
    names = {name for api in Api for name, item in parameters_of(api).items() if item.kind is Kind.HONOURED}
    return sorted(names - known)


def _honours(path: str, name: str) -> bool:
    parameter = parameters_of(Api.CHAT if path == CHAT else Api.COMPLETIONS).get(name)
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
        path = rng.choices((CHAT, COMPLETIONS, EMBEDDINGS), (12, 12, 1))[0]
        if path == EMBEDDINGS:
            return self._embeddings()
        body, num_prompts = self._body(path)
        for name, draw in _FIELDS.items():
            if rng.random() < 0.2 and _honours(path, name):
                body[name] = draw(rng, self._facts)
        n = body["n"] = rng.choice((1, 1, 1, 1, 2, 3, 5))
        is_stream = body["stream"] = rng.random() < 0.5
        self._add_dependent(path, body)
        self._add_form(path, body)
        max_tokens = body["max_tokens"]
        if path == CHAT and rng.random() < 0.5:
            body["max_completion_tokens"] = body.pop("max_tokens")
        return Asked(path, json.dumps(body).encode(), Fate.ANSWERED, n * num_prompts, max_tokens, is_stream)

    def _embeddings(self) -> Asked:
        rng = self._rng
        texts = [self._text(60) for _ in range(rng.choice((1, 1, 4)))]
        body: dict[str, Any] = {"model": "default", "input": texts}
        if rng.random() < 0.5:
            body |= {"pooling": rng.choice(("last", "mean")), "dimensions": 64, "encoding_format": "base64"}
        return Asked(EMBEDDINGS, json.dumps(body).encode(), Fate.ANSWERED, len(texts))

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
            if rng.random() < 0.1:
                body["messages"].append({"role": "assistant", "content": self._text(5)})
                body |= {"continue_final_message": True, "add_generation_prompt": False}
            if rng.random() < 0.1 and self._facts.has_documents:
                body["documents"] = [{"text": self._text(5)}]
            return body, 1
        kind = rng.random()
        if kind < 0.4:
            body["prompt"] = _ids(rng, self._facts, rng.randrange(1, 150))
            return body, 1
        if kind < 0.5 and self._facts.fills_in:
            body |= {"prompt": self._text(30), "suffix": self._text(10)}
            return body, 1
        texts = [self._text(60) for _ in range(1 if kind < 0.9 else 3)]
        body["prompt"] = texts[0] if len(texts) == 1 else texts
        return body, len(texts)

    def _add_dependent(self, path: str, body: dict[str, Any]) -> None:
        """Parameters whose values depend on others."""
        rng = self._rng
        if body["stream"] and rng.random() < 0.5:
            body["stream_options"] = {"include_usage": True, "continuous_usage_stats": rng.random() < 0.5}
        if rng.random() < 0.2 and "allowed_token_ids" not in body:
            body["min_tokens"] = rng.randrange(body["max_tokens"] + 1)
        if rng.random() < 0.3:
            body |= {"logprobs": True, "top_logprobs": 3} if path == CHAT else {"logprobs": 2}
        if rng.random() < 0.1 and not body["stream"]:
            body["prompt_logprobs"] = rng.randrange(3)
        if rng.random() < 0.1 and path == COMPLETIONS and "suffix" not in body:
            body["echo"] = True
        if rng.random() < 0.1 and not body["stream"] and path == COMPLETIONS:
            body["best_of"] = body["n"] + rng.randrange(3)

    def _add_form(self, path: str, body: dict[str, Any]) -> None:
        """What a grammar holds the answer to."""
        rng = self._rng
        if not body.keys().isdisjoint(_HINDRANCES):
            return
        if path == CHAT and rng.random() < 0.15:
            body |= {"tools": TOOLS, "tool_choice": rng.choice(_TOOL_CHOICES)}
        elif rng.random() < 0.2:
            body |= rng.choice(_GRAMMARS)
        if path == CHAT and self._facts.reasons and rng.random() < 0.3:
            body |= rng.choice(_REASONING)

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
        bad = rng.choice((*_BAD, *_unknown_to(self._facts)))
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


def _unknown_to(facts: ModelFacts) -> list[Callable[[dict[str, Any], ModelFacts], bytes]]:
    """What only other models can do."""
    found = []
    if not facts.reasons:
        found += [_changed(reasoning_effort="high"), _changed(thinking_token_budget=9)]
    if not facts.fills_in:
        found.append(_changed(suffix="."))
    if not facts.has_documents:
        found.append(_changed(documents=[{"text": "."}]))
    return found
