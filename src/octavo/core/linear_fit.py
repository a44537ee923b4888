"""A linear model that starts from given coefficients and follows what is observed."""

import operator
from collections.abc import Iterable, Sequence

REMEMBERED = 0.995  # weight of an observation's evidence after one more, unless said otherwise
START_UNCERTAINTY = 4.0  # of a start value, as a multiple of it
OUTLIER = 3.0  # standard deviations; evidence beyond counts as this much
MAX_OUTLIERS = 5  # in a row, until everything is taken to be slower or faster; twice as many: all to be new


class LinearFit:
    """y = coefficients · x, all of them 0 or above, by recursive least squares with forgetting.

    Haykin, Adaptive Filter Theory, ch. 10. In plain floats: for a few coefficients an array library's calls
    cost many times what they compute.

    Errors are weighed relative to the prediction, so that small values count as much as large ones; the error
    of an outlier is clipped. After several in a row all coefficients are multiplied by what the last one was
    off by, as when a machine is shared; when that does not help, the fit begins anew.
    """

    def __init__(self, start: Sequence[float], *, relative_noise: float) -> None:
        """start: above 0; a 0 cannot be learned. relative_noise: standard deviation of one observation."""
        assert all(value > 0 for value in start)
        self._start = tuple(start)
        self._relative_noise = relative_noise
        self.coefficients = self._start
        self._num_outliers = 0  # in a row
        self._forget()

    def observe(self, x: Sequence[float], y: float, *, remembered: float = REMEMBERED) -> None:
        """remembered: the weight of all evidence before this."""
        predicted = _dot(self.coefficients, x)
        noise = (self._relative_noise * max(predicted, 1e-6)) ** 2
        gain = [_dot(row, x) for row in self._covariance]
        variance = max(0.0, _dot(x, gain))  # rounding may leave it a little below
        limit = OUTLIER * (variance + noise) ** 0.5
        error = y - predicted
        self._num_outliers = self._num_outliers + 1 if abs(error) > limit else 0
        if self._num_outliers == MAX_OUTLIERS and predicted > 0 < y:
            self._scale(y / predicted)
            return
        if self._num_outliers >= 2 * MAX_OUTLIERS:
            self._forget()
            gain = [_dot(row, x) for row in self._covariance]
            variance = _dot(x, gain)
        else:
            error = min(max(error, -limit), limit)
        weight = 1.0 / (remembered * noise + variance)
        correction = error * weight
        self.coefficients = tuple(
            [max(value + each * correction, 0.0) for value, each in zip(self.coefficients, gain, strict=True)]
        )
        self._learn(gain, weight, remembered)

    def _forget(self) -> None:
        """Be as uncertain as at the start."""
        self._num_outliers = 0
        values = zip(self._start, self.coefficients, strict=True)
        self._max_deviation = [START_UNCERTAINTY * max(pair) for pair in values]
        count = len(self._start)
        self._covariance = [
            [deviation**2 if column == row else 0.0 for column in range(count)]
            for row, deviation in enumerate(self._max_deviation)
        ]

    def _scale(self, factor: float) -> None:
        self.coefficients = tuple([factor * value for value in self.coefficients])
        self._max_deviation = [factor * value for value in self._max_deviation]
        self._covariance = [[factor**2 * value for value in row] for row in self._covariance]

    def _learn(self, gain: list[float], weight: float, remembered: float) -> None:
        """The covariance after an observation. What forgetting lets grow while the observations say nothing
        about a coefficient is bounded."""
        rows = [
            [(value - each * other * weight) / remembered for value, other in zip(row, gain, strict=True)]
            for row, each in zip(self._covariance, gain, strict=True)
        ]
        for index, most in enumerate(self._max_deviation):
            variance = max(rows[index][index], 1e-30 * most**2)
            if variance > most**2:
                factor = most / variance**0.5
                rows[index] = [value * factor for value in rows[index]]
                for row in rows:
                    row[index] *= factor
        self._covariance = rows


def _dot(left: Iterable[float], right: Iterable[float]) -> float:
    total: float = sum(map(operator.mul, left, right))
    return total
