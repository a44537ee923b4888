"""How one request wants its tokens chosen and when it ends. Plain data, validated once, at construction."""

import dataclasses
import math

from octavo.core.errors import InvalidRequestError

MAX_STOP_STRINGS = 64
MAX_STOP_STRING_LENGTH = 1024
MAX_SEED = 2**63 - 1


@dataclasses.dataclass(frozen=True, slots=True)
class SamplingParams:
    """Sampling and length parameters of one request; the field names are vLLM's.

    temperature   0 is greedy; otherwise the token is argmax(logit / temperature + Gumbel noise)
    top_k         keep the k highest logits (and ties with the k-th); 0 or -1 keeps all
    top_p         keep the smallest set of highest logits whose probability reaches top_p; 1 keeps all
    min_p         keep tokens at least min_p times as probable as the most probable one; 0 keeps all
    seed          the Gumbel noise is a function of (seed, branch, position, token id); None: one is drawn
    max_tokens    tokens to generate at most; None: as many as the context allows
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
            self.max_tokens is None or 1 <= self.max_tokens < 2**31,
            "1 or more",
        )
        limit = self.max_tokens if self.max_tokens is not None else 2**31 - 1
        _require("min_tokens", self.min_tokens, 0 <= self.min_tokens <= limit, "0 to max_tokens")
        _require(
            "stop", len(self.stop), len(self.stop) <= MAX_STOP_STRINGS, f"at most {MAX_STOP_STRINGS} strings"
        )
        for text in self.stop:
            _require(
                "stop",
                text[:40],
                1 <= len(text) <= MAX_STOP_STRING_LENGTH,
                f"strings of 1 to {MAX_STOP_STRING_LENGTH} characters",
            )

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0


def _require(field: str, value: object, holds: bool, allowed: str) -> None:
    if not holds:
        raise InvalidRequestError(f"{field} is {value!r}; allowed: {allowed}.", param=field)
