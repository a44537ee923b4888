"""How one request wants its tokens chosen and when it ends. Plain data, validated once, at construction."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

from octavo.core.errors import InvalidRequestError

MAX_STOP_STRINGS = 64
MAX_STOP_STRING_LENGTH = 1024
MAX_STOP_TOKEN_IDS = 1024
MAX_SEED = 2**63 - 1
MIN_TEMPERATURE = 1e-5  # below, noise decides near ties only; far below, logits divided by it overflow
MIN_REPETITION_PENALTY, MAX_REPETITION_PENALTY = 0.01, 100.0
MAX_LOGPROBS = 20  # alternatives reported for a token
MAX_LOGIT_BIAS = 1024  # entries
MAX_BIAS = 100.0
MAX_BAD_WORDS = 1024
MAX_BAD_WORD_TOKENS = 32


@dataclasses.dataclass(frozen=True, slots=True)
class SamplingParams:
    """Sampling and length parameters of one request; the field names are vLLM's.

    temperature   below 1e-5 is greedy; otherwise the token is argmax(logit / temperature + Gumbel noise)
    top_k         keep the k highest logits (and ties with the k-th); 0 or -1 keeps all
    top_p         keep the smallest set of highest logits whose probability reaches top_p; 1 keeps all
    min_p         keep tokens at least min_p times as probable as the most probable one; 0 keeps all
    repetition_penalty  divides positive, multiplies negative logits of tokens in prompt or output; 1 is none
    presence_penalty    subtracted from the logits of tokens in the output; 0 is none
    frequency_penalty   subtracted once for each time the token is in the output; 0 is none
    logit_bias    (token id, bias) pairs, added to the logits before the penalties
    allowed_token_ids    only these are sampled; None: all
    bad_words_token_ids  of each sequence the last token is not sampled where the output ends in the others
    logprobs      report each token's log probability and rank, and those of so many most probable tokens; of
                  the raw logits: before bias, penalties, masks and temperature. None reports nothing
    prompt_logprobs  the same for each prompt token but the first
    seed          the Gumbel noise is a function of (seed, branch, position, token id); None: one is drawn
    max_tokens    tokens to generate at most; None: as many as the context allows; 0 only scores the prompt
    min_tokens    until so many are generated no end-of-turn or stop token is sampled, no stop string cut
    stop          strings that end the answer; not part of it
    stop_token_ids  token ids that end the answer, besides the model's own end-of-turn ids
    ignore_eos    the model's end-of-turn ids do not end the answer

    Raises InvalidRequestError, naming the field and its limits.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    allowed_token_ids: tuple[int, ...] | None = None
    bad_words_token_ids: tuple[tuple[int, ...], ...] = ()
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    seed: int | None = None
    max_tokens: int | None = None
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        _require(
            "temperature",
            self.temperature,
            math.isfinite(self.temperature) and 0 <= self.temperature <= 2,
            "0 to 2",
        )
        _require("top_k", self.top_k, -1 <= self.top_k < 2**31, "-1 or 0 (all) to 2147483647")
        _require("top_p", self.top_p, 0 < self.top_p <= 1, "above 0, up to 1")
        _require("min_p", self.min_p, 0 <= self.min_p <= 1, "0 to 1")
        _require("seed", self.seed, self.seed is None or abs(self.seed) <= MAX_SEED, "a 64-bit integer")
        _require(
            "max_tokens",
            self.max_tokens,
            self.max_tokens is None or self._least_max_tokens <= self.max_tokens < 2**31,
            f"{self._least_max_tokens} or more",
        )
        limit = self.max_tokens if self.max_tokens is not None else 2**31 - 1
        _require("min_tokens", self.min_tokens, 0 <= self.min_tokens <= limit, "0 to max_tokens")
        self._check_stop()
        self._check_logits()
        self._check_logprobs()

    def _check_stop(self) -> None:
        _require("stop", self.stop, not isinstance(self.stop, str), "a sequence of strings")
        _require(
            "stop", len(self.stop), len(self.stop) <= MAX_STOP_STRINGS, f"at most {MAX_STOP_STRINGS} strings"
        )
        count = len(self.stop_token_ids)
        _require("stop_token_ids", count, count <= MAX_STOP_TOKEN_IDS, f"at most {MAX_STOP_TOKEN_IDS}")
        for text in self.stop:
            _require(
                "stop",
                text[:40],
                1 <= len(text) <= MAX_STOP_STRING_LENGTH,
                f"strings of 1 to {MAX_STOP_STRING_LENGTH} characters",
            )

    def _check_logits(self) -> None:
        penalty = self.repetition_penalty
        is_moderate = MIN_REPETITION_PENALTY <= penalty <= MAX_REPETITION_PENALTY  # logits stay finite
        _require("repetition_penalty", penalty, is_moderate, "0.01 to 100")
        for field in ("presence_penalty", "frequency_penalty"):
            value = getattr(self, field)
            _require(field, value, -2 <= value <= 2, "-2 to 2")
        count = len(self.logit_bias)
        _require("logit_bias", count, count <= MAX_LOGIT_BIAS, f"at most {MAX_LOGIT_BIAS} token ids")
        is_distinct = len({token for token, _ in self.logit_bias}) == count
        _require("logit_bias", count, is_distinct, "each token id once")
        for _, bias in self.logit_bias:
            _require("logit_bias", bias, -MAX_BIAS <= bias <= MAX_BIAS, f"-{MAX_BIAS:g} to {MAX_BIAS:g}")
        allowed = self.allowed_token_ids
        _require(
            "allowed_token_ids", allowed, allowed is None or len(allowed) > 0, "at least one, or none at all"
        )
        count = len(self.bad_words_token_ids)
        _require("bad_words_token_ids", count, count <= MAX_BAD_WORDS, f"at most {MAX_BAD_WORDS} sequences")
        for word in self.bad_words_token_ids:
            is_usable = 1 <= len(word) <= MAX_BAD_WORD_TOKENS
            _require(
                "bad_words_token_ids", len(word), is_usable, f"sequences of 1 to {MAX_BAD_WORD_TOKENS} tokens"
            )

    def _check_logprobs(self) -> None:
        for field in ("logprobs", "prompt_logprobs"):
            value = getattr(self, field)
            _require(field, value, value is None or 0 <= value <= MAX_LOGPROBS, f"0 to {MAX_LOGPROBS}")

    @property
    def _least_max_tokens(self) -> int:
        return 0 if self.prompt_logprobs is not None else 1

    @property
    def has_penalties(self) -> bool:
        return self.repetition_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0

    def token_ids_by_field(self) -> Iterator[tuple[str, Sequence[int]]]:
        """Every token id that a field names, for whoever knows the size of the vocabulary."""
        yield "stop_token_ids", self.stop_token_ids
        yield "logit_bias", [token for token, _ in self.logit_bias]
        yield "allowed_token_ids", self.allowed_token_ids or ()
        yield "bad_words_token_ids", [token for word in self.bad_words_token_ids for token in word]

    @property
    def is_greedy(self) -> bool:
        return self.temperature < MIN_TEMPERATURE


def _require(field: str, value: object, holds: bool, allowed: str) -> None:
    if not holds:
        raise InvalidRequestError(f"{field} is {value!r}; allowed: {allowed}.", param=field)
