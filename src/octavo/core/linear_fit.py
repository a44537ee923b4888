"""A linear model that starts from given coefficients and follows what is observed."""

import operator
from collections.abc import Iterable, Sequence

START_UNCERTAINTY = 4.0  # of a start value, as a multiple of it: standard deviation
DRIFT = 0.002  # of one coefficient from an observation to the next, relative to it
LEAST_DRIFTING = 0.1  # of its start value: what a coefficient that is lower counts as in its drift
OUTLIER = 3.0  # standard deviations; an error beyond counts as this much
MAX_OUTLIERS = 5  # in a row, until they are believed
OWN_DOUBT = 0.5  # of each coefficient then, beside that of all together


class LinearFit:
    """y = coefficients · x, all of them 0 or above, by a Kalman filter whose coefficients drift at random.

    Anderson and Moore, Optimal Filtering, ch. 3. What is not seen for long becomes uncertain with the square
    root of the time. (Forgetting by a factor makes it uncertain exponentially, until the noise of a few
    hundred observations that are alike decides which coefficient their value is.)

    Errors are weighed relative to the prediction, so that small values count as much as large ones; the error
    of an outlier is clipped. Several in a row are believed: then all coefficients may have become larger or
    smaller together, as when a machine is shared, and each by itself half as much, which tells itself when
    other kinds of x are seen again.

    In plain floats: for a few coefficients an array library's calls cost many times what they compute.
    """

    def __init__(self, start: Sequence[float], *, relative_noise: float, common_drift: float = 0.0) -> None:
        """start: above 0. relative_noise: standard deviation of one observation. common_drift: of all
        coefficients together, as DRIFT is of one."""
        assert all(value > 0 for value in start)
        self._start = tuple(start)
        self._relative_noise = relative_noise
        self._common_drift = common_drift
        self.coefficients = self._start
        self._num_outliers = 0  # in a row
        self._covariance = [[0.0] * len(self._start) for _ in self._start]
        self._loosen(START_UNCERTAINTY**2)

    def observe(self, x: Sequence[float], y: float, *, elapsed: float = 1.0) -> None:
        """elapsed: since the last observation, in what the drifts are given for."""
        values = self.coefficients
        predicted = max(_dot(values, x), 1e-9)
        error = y - predicted
        self._loosen(elapsed * DRIFT**2)
        common = elapsed * self._common_drift**2
        gain, variance = self._gain(x, common * predicted)
        noise = (self._relative_noise * predicted) ** 2
        limit = OUTLIER * (variance + noise) ** 0.5
        self._num_outliers = self._num_outliers + 1 if abs(error) > limit else 0
        if self._num_outliers < MAX_OUTLIERS:
            error = min(max(error, -limit), limit)
        else:
            doubt = (error / predicted) ** 2
            self._loosen(OWN_DOUBT**2 * doubt)
            common += doubt
            gain, variance = self._gain(x, common * predicted)
        weight = 1.0 / (noise + variance)
        self._learn(gain, weight, common)
        pairs = zip(values, gain, strict=True)
        self.coefficients = tuple([max(value + each * weight * error, 0.0) for value, each in pairs])

    def _loosen(self, relative_variance: float) -> None:
        """Each may have changed by itself; it becomes no more uncertain than it was at the start."""
        for index, (value, start) in enumerate(zip(self.coefficients, self._start, strict=True)):
            base, row = max(value, LEAST_DRIFTING * start), self._covariance[index]
            if row[index] < (START_UNCERTAINTY * base) ** 2:
                row[index] += relative_variance * base**2

    def _gain(self, x: Sequence[float], common: float) -> tuple[list[float], float]:
        """The covariance of the coefficients with the prediction for x, and the variance of that. common: the
        variance of a factor of all of them, times the prediction."""
        rows = zip(self._covariance, self.coefficients, strict=True)
        gain = [_dot(row, x) + common * value for row, value in rows]
        return gain, max(0.0, _dot(x, gain))  # rounding may leave it a little below

    def _learn(self, gain: Sequence[float], weight: float, common: float) -> None:
        """The covariance after an observation; common: the variance of a factor of all before it."""
        pairs = list(zip(self.coefficients, gain, strict=True))
        self._covariance = [
            [
                element + common * value * other - weight * each * other_gain
                for element, (other, other_gain) in zip(row, pairs, strict=True)
            ]
            for row, (value, each) in zip(self._covariance, pairs, strict=True)
        ]


def _dot(left: Iterable[float], right: Iterable[float]) -> float:
    total: float = sum(map(operator.mul, left, right))
    return total
