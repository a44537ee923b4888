"""The rows of the exactness matrix: what is asked with each kind of parameters, and what is compared."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from octavo.core.grammar_spec import GrammarKind, GrammarSpec
from octavo.core.messages import RequestOutput, TokenLogprobs
from octavo.core.sampling_params import SamplingParams

MIN_TOKENS = 4
_SAMPLED = {"temperature": 1.1, "top_p": 0.95, "top_k": 40, "min_p": 0.001}
ROWS: Mapping[str, Mapping[str, Any]] = {
    "greedy": {"temperature": 0},
    "seeded": _SAMPLED,
    "penalties": {
        "temperature": 0.8, "repetition_penalty": 1.3, "presence_penalty": 0.5, "frequency_penalty": 0.4,
    },
    "bias, masks": {
        "temperature": 1.0, "logit_bias": ((70, 3.0), (81, -2.0)), "allowed_token_ids": tuple(range(32, 127)),
        "bad_words_token_ids": ((70, 71), (90,)), "min_tokens": MIN_TOKENS, "stop_token_ids": (64,),
    },
    "logprobs": {"temperature": 1.0},
    "grammar": {"temperature": 1.0, "presence_penalty": 0.5, "logit_bias": ((110, 2.0),)},
    "n = 3": {"temperature": 1.2},
}  # fmt: skip
"""Row -> its sampling parameters."""

_WORDS = GrammarSpec(GrammarKind.LARK, 'start: "[" (/[a-z]{1,7}/ | %json {"type": "boolean"} | ", ")+')
GRAMMARS: Mapping[str, GrammarSpec] = {"grammar": _WORDS}
"""Row -> what its answers must look like."""

_PLAIN, _REPORTED = {"logprobs": None}, {"logprobs": 2}
_VARIANTS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "logprobs": ({"logprobs": 5}, {"logprobs": 0, "prompt_logprobs": 3}),
}


@dataclasses.dataclass(frozen=True)
class Question:
    """One request of a row. Those of one family share prompt, seed and salt, and no others do.

    first: the index of its family's first request, whose fork it may be.
    """

    prompt: tuple[int, ...]
    sampling: SamplingParams
    seed: int
    branch: int
    first: int
    priority: int = 0
    grammar: GrammarSpec | None = None

    @property
    def salt(self) -> str:
        """Only requests of one family find each other's blocks."""
        return f"family {self.first}"

    @property
    def may_hit(self) -> bool:
        """Whether its prompt may come from the prefix cache: logprobs of prompt tokens are not in there."""
        return self.sampling.prompt_logprobs is None


@dataclasses.dataclass(frozen=True)
class Answer:
    """What must not depend on circumstances. Logprobs are bits, one entry per token that has any."""

    token_ids: tuple[int, ...]
    logprobs: tuple[bytes, ...]
    prompt_logprobs: tuple[bytes, ...]

    @classmethod
    def of(
        cls,
        token_ids: Sequence[int],
        logprobs: TokenLogprobs | None,
        prompt_logprobs: TokenLogprobs | None,
    ) -> "Answer":
        return cls(tuple(token_ids), _bits(logprobs), _bits(prompt_logprobs))

    def first(self, count: int) -> "Answer":
        """As if it had ended after so many tokens."""
        return Answer(self.token_ids[:count], self.logprobs[:count], self.prompt_logprobs)


def _bits(of: TokenLogprobs | None) -> tuple[bytes, ...]:
    """Of each token its rank, the ids of the most probable ones, and every value as fp32."""
    if of is None:
        return ()
    entries = zip(of.ranks, of.logprobs, of.top_ids, of.top_logprobs, strict=True)
    return tuple(
        np.array([rank, *ids], np.int32).tobytes() + np.array([value, *values], np.float32).tobytes()
        for rank, value, ids, values in entries
    )


class Gathering:
    """An answer on its way."""

    def __init__(self) -> None:
        self.token_ids: list[int] = []
        self.num_cached_tokens = 0
        self.num_preemptions = 0
        self._logprobs, self._prompt_logprobs = TokenLogprobs(), TokenLogprobs()

    def take(self, output: RequestOutput) -> None:
        assert output.error is None
        assert output.first_index == len(self.token_ids)
        self.num_cached_tokens = max(self.num_cached_tokens, output.num_cached_tokens)
        self.num_preemptions = output.num_preemptions
        self.token_ids += output.token_ids
        self._logprobs.extend(output.logprobs or TokenLogprobs())
        self._prompt_logprobs.extend(output.prompt_logprobs or TokenLogprobs())

    def answer(self) -> Answer:
        return Answer.of(self.token_ids, self._logprobs, self._prompt_logprobs)


def questions_of(row: str, prompts: Sequence[tuple[int, ...]], max_tokens: int) -> list[Question]:
    """Of each prompt two requests: one without logprobs, which takes the shortest way there is; one with.

    Choices are of two prompts only, the first of them without logprobs.
    """
    variants = _VARIANTS.get(row, (_PLAIN, _REPORTED))
    asked = [(number, variant) for number in range(len(prompts)) for variant in variants]
    num_choices = 1
    if row == "n = 3":
        num_choices = 3
        asked = [(0, _PLAIN), (1 % len(prompts), _REPORTED)]
    questions: list[Question] = []
    for number, variant in asked:
        sampling = _params(row, max_tokens, variant)
        first = len(questions)
        for branch in range(num_choices):
            question = Question(
                prompts[number], sampling, 77 + number, branch, first, grammar=GRAMMARS.get(row)
            )
            questions.append(question)
    return questions


def _params(row: str, max_tokens: int, variant: Mapping[str, Any]) -> SamplingParams:
    settings = {"max_tokens": max_tokens, "ignore_eos": True, **ROWS[row], **variant}
    return SamplingParams(**settings)


def random_prompts(vocab_size: int, lengths: Sequence[int]) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(11)
    return [tuple(rng.integers(0, min(vocab_size, 40000), length).tolist()) for length in lengths]


def fillers(lengths: Sequence[int], vocab_size: int, max_tokens: int) -> list[Question]:
    """Other people's requests, of every kind, ahead of the questions where there is a queue."""
    rows = list(ROWS)
    found = []
    for i, prompt in enumerate(random_prompts(vocab_size, lengths)):
        row = rows[i % len(rows)]
        sampling, grammar = _params(row, max_tokens, _REPORTED if i % 3 else _PLAIN), GRAMMARS.get(row)
        found.append(Question(prompt, sampling, i, branch=0, first=1000 + i, priority=-1, grammar=grammar))
    return found
