"""A linear model that starts from given coefficients and follows what is observed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FORGETTING = 0.995  # weight of an observation's evidence after one more
START_UNCERTAINTY = 4.0  # of a start value, as a multiple of it
OUTLIER = 3.0  # standard deviations; evidence beyond counts as this much
MAX_OUTLIERS = 5  # in a row


class LinearFit:
    """y = coefficients · x, all of them 0 or above, by recursive least squares with forgetting.

    Haykin, Adaptive Filter Theory, ch. 10.

    Errors are weighed relative to the prediction, so that small values count as much as large ones; the error
    of an outlier is clipped, but several in a row make the fit begin anew.
    """

    def __init__(self, start: Sequence[float], *, relative_noise: float) -> None:
        """start: above 0; a 0 cannot be learned. relative_noise: standard deviation of one observation."""
        assert all(value > 0 for value in start)
        self._start = np.array(start)
        self._relative_noise = relative_noise
        self._coefficients = self._start
        self._num_outliers = 0  # in a row
        self._forget()

    @property
    def coefficients(self) -> tuple[float, ...]:
        return tuple(self._coefficients.tolist())

    def observe(self, x: Sequence[float], y: float) -> None:
        features = np.array(x, float)
        predicted = float(self._coefficients @ features)
        noise = (self._relative_noise * max(predicted, 1e-6)) ** 2
        gain = self._covariance @ features
        variance = max(0.0, float(features @ gain))  # rounding may leave it a little below
        limit = OUTLIER * (variance + noise) ** 0.5
        error = y - predicted
        self._num_outliers = self._num_outliers + 1 if abs(error) > limit else 0
        if self._num_outliers == MAX_OUTLIERS:  # no accident: the machine or the load has changed
            self._forget()
            gain = self._covariance @ features
            variance = float(features @ gain)
        else:
            error = min(max(error, -limit), limit)
        gain = gain / (FORGETTING * noise + variance)
        self._coefficients = np.maximum(self._coefficients + gain * error, 0.0)
        self._shrink((self._covariance - np.outer(gain, features @ self._covariance)) / FORGETTING)

    def _forget(self) -> None:
        """Be as uncertain as at the start."""
        self._num_outliers = 0
        self._max_deviation = START_UNCERTAINTY * np.maximum(self._start, self._coefficients)
        self._covariance = np.diag(self._max_deviation**2)

    def _shrink(self, covariance: NDArray[np.float64]) -> None:
        """Bound what forgetting lets grow while the observations say nothing about a coefficient."""
        deviation = np.sqrt(np.maximum(np.diag(covariance), 1e-30 * self._max_deviation**2))
        factor = np.minimum(1.0, self._max_deviation / deviation)
        self._covariance = (covariance + covariance.T) / 2 * np.outer(factor, factor)
