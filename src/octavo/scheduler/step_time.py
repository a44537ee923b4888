"""How long a step will take: a linear model that starts from given values and follows the engine's own steps.

Runs in the engine process.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

FORGETTING = 0.995  # weight of a step's evidence after one more step
RELATIVE_NOISE = 0.1  # of a single step's time
START_UNCERTAINTY = 4.0  # of a start value, as a multiple of it
OUTLIER = 3.0  # standard deviations; evidence beyond counts as this much
MAX_OUTLIERS = 5  # in a row


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
    """Fitted by recursive least squares with forgetting (Haykin, Adaptive Filter Theory, ch. 10).

    Errors are weighed relative to the prediction, so that short steps count as much as long ones; the error
    of an outlier is clipped, but several in a row make the model learn anew; coefficients stay at 0 or above.
    """

    def __init__(self, start: StepCost) -> None:
        self._start = np.array(dataclasses.astuple(start))
        self._coefficients = self._start
        self._num_outliers = 0  # in a row
        self.last_prediction = 0.0  # seconds, of the step that was observed last, before it was
        self._forget()
        self._set_scalars()

    def predict(self, num_tokens: int, num_context_tokens: int, num_requests: int) -> float:
        """Seconds. num_context_tokens: summed over the step's rows, how many tokens each attends to."""
        return (
            self._per_step
            + self._per_token * num_tokens
            + self._per_context_token * num_context_tokens
            + self._per_request * num_requests
        )

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
        x = np.array((1.0, num_tokens, num_context_tokens, num_requests))
        self.last_prediction = predicted = float(self._coefficients @ x)
        noise = (RELATIVE_NOISE * max(predicted, 1e-6)) ** 2
        limit = OUTLIER * (float(x @ self._covariance @ x) + noise) ** 0.5
        error = seconds - predicted
        self._num_outliers = self._num_outliers + 1 if abs(error) > limit else 0
        if self._num_outliers == MAX_OUTLIERS:  # no accident: the machine or the load has changed
            self._forget()
        else:
            error = min(max(error, -limit), limit)
        gain = self._covariance @ x
        gain = gain / (FORGETTING * noise + float(x @ gain))
        self._coefficients = np.maximum(self._coefficients + gain * error, 0.0)
        self._shrink((self._covariance - np.outer(gain, x @ self._covariance)) / FORGETTING)
        self._set_scalars()

    def _forget(self) -> None:
        """Be as uncertain as at the start."""
        self._num_outliers = 0
        self._max_deviation = START_UNCERTAINTY * np.maximum(self._start, self._coefficients)
        self._covariance = np.diag(self._max_deviation**2)

    def _shrink(self, covariance: NDArray[np.float64]) -> None:
        """Bound what forgetting lets grow while the steps say nothing about a coefficient."""
        deviation = np.sqrt(np.maximum(np.diag(covariance), 1e-30 * self._max_deviation**2))
        factor = np.minimum(1.0, self._max_deviation / deviation)
        self._covariance = (covariance + covariance.T) / 2 * np.outer(factor, factor)

    def _set_scalars(self) -> None:
        """The coefficients as plain floats, which the methods above read."""
        self._per_step: float
        self._per_token: float
        self._per_context_token: float
        self._per_request: float
        self._per_step, self._per_token, self._per_context_token, self._per_request = (
            self._coefficients.tolist()
        )
