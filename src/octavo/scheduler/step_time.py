"""How long a step will take: a linear model that starts from given values and follows the engine's own steps.

Runs in the engine process.
"""

import dataclasses
import math

from octavo.core.linear_fit import LinearFit

RELATIVE_NOISE = 0.1  # of a single step's time
COMMON_DRIFT = 0.02  # of the machine's speed from one step to the next: others use it too


@dataclasses.dataclass(frozen=True, slots=True)
class StepCost:
    """Seconds of a step, by what it contains. Start values must be above 0: one of 0 cannot be learned."""

    per_step: float = 2e-3
    per_token: float = 4e-4
    per_context_token: float = 1e-7  # for each token a row attends to, itself included
    per_request: float = 1e-5

    def __post_init__(self) -> None:
        assert all(value > 0 for value in dataclasses.astuple(self))


class StepTimeModel:
    def __init__(self, start: StepCost) -> None:
        self._fit = LinearFit(
            dataclasses.astuple(start), relative_noise=RELATIVE_NOISE, common_drift=COMMON_DRIFT
        )
        self.last_prediction = 0.0  # seconds, of the step that was observed last, before it was
        self._set_scalars()

    @property
    def fixed_seconds(self) -> float:
        """What every step takes, whatever it computes: reading the weights, most of it."""
        return self._per_step

    def efficient_tokens(self, most: int, excess: float) -> int:
        """The fewest tokens of one step whose time per token is at most 1 + excess times that of most tokens.

        Contexts do not count: the same tokens attend to the same contexts in steps of any size.
        """
        fixed = self._per_step + self._per_request
        if not fixed:
            return 0
        return min(most, math.ceil(most * fixed / ((1 + excess) * fixed + excess * self._per_token * most)))

    def predict(self, num_tokens: int, num_context_tokens: int, num_requests: int) -> float:
        """Seconds. num_context_tokens: summed over the step's rows, how many tokens each attends to."""
        return (
            self._per_step
            + self._per_token * num_tokens
            + self._per_context_token * num_context_tokens
            + self._per_request * num_requests
        )

    def decode_seconds(self, num_context_tokens: float) -> float:
        """What one more row that is sampled, and attends to so many tokens, adds to a step."""
        return self._per_token + self._per_context_token * num_context_tokens + self._per_request

    def chunk_seconds(self, num_tokens: int, num_computed: int) -> float:
        """What a chunk of num_tokens after num_computed adds to a step that it joins."""
        return self._per_request + num_tokens * (
            self._per_token + self._per_context_token * (num_computed + (num_tokens + 1) / 2)
        )

    def chunk_tokens(self, seconds: float, num_computed: int) -> int:
        """The longest chunk after num_computed that adds at most so many seconds."""
        seconds -= self._per_request
        if seconds <= 0:
            return 0
        square = self._per_context_token / 2
        linear = self._per_token + self._per_context_token * (num_computed + 0.5)
        divisor = linear + (linear * linear + 4 * square * seconds) ** 0.5
        return int(min(2 * seconds / divisor, 2**31)) if divisor > 0 else 2**31

    def observe(self, num_tokens: int, num_context_tokens: int, num_requests: int, seconds: float) -> None:
        """A step of this content took so long."""
        self.last_prediction = self.predict(num_tokens, num_context_tokens, num_requests)
        self._fit.observe((1.0, num_tokens, num_context_tokens, num_requests), seconds)
        self._set_scalars()

    def _set_scalars(self) -> None:
        """The coefficients as plain floats, which the methods above read."""
        self._per_step, self._per_token, self._per_context_token, self._per_request = self._fit.coefficients
