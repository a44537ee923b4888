"""How long endpoints take to a first token: learned from what they took.

One formula for all endpoints of a model (seconds, by the prompt tokens to compute and the requests beside)
and one factor for each endpoint. What is not observed for a while is forgotten: one that was slow is tried
again. One that is new is taken to be like the others.
"""

import math
import time
import weakref
from collections.abc import Callable
from typing import NamedTuple

from octavo.core.linear_fit import LinearFit
from octavo.router.endpoints import Endpoint

START = (0.01, 4e-4, 2e-3)  # seconds: of any request, of a token to compute, of a request beside
RELATIVE_NOISE = 0.5
SLOWNESS_WEIGHT = 0.1  # of one observation
MAX_SLOWNESS = 16.0
HALF_LIFE_SECONDS = 60.0  # of what is known of one endpoint


class Rates(NamedTuple):
    """What an endpoint takes for a model as of now, in seconds."""

    base: float  # of any request
    per_token: float  # of a prompt that is not cached
    per_request: float  # beside it

    def predict(self, num_tokens: float, num_requests: int) -> float:
        """To the first token. num_tokens: to compute before, this prompt's among them; num_requests: under
        way there."""
        return self.base + self.per_token * num_tokens + self.per_request * num_requests


class FirstTokenTimes:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._fits: dict[str, LinearFit] = {}  # by model: only of models that endpoints serve
        self._slowness: weakref.WeakKeyDictionary[Endpoint, tuple[float, float]] = (
            weakref.WeakKeyDictionary()
        )  # logarithm, and when it was learned
        self._usual_log_slowness = 0.0  # of those observed of late: the formula is not alone in learning

    def rates(self, endpoint: Endpoint, model: str) -> Rates:
        base, per_token, per_request = self._fit(model).coefficients
        slowness = math.exp(self._log_slowness(endpoint))
        return Rates(base * slowness, per_token * slowness, per_request * slowness)

    def tokens_before(self, endpoint: Endpoint, rates: Rates, num_tokens: int, num_pending: int = 0) -> float:
        """Of other prompts there, until one with num_tokens that is sent now is computed; see Load."""
        return endpoint.load.tokens_before(
            num_tokens, num_pending, now=self._clock(), seconds_per_token=max(rates.per_token, 1e-6)
        )

    def observe(
        self, endpoint: Endpoint, model: str, num_tokens: float, num_requests: int, seconds: float
    ) -> None:
        """What rates were to predict took so long."""
        log_slowness, fit = self._log_slowness(endpoint), self._fit(model)
        usual = Rates(*fit.coefficients).predict(num_tokens, num_requests)
        limit = math.log(MAX_SLOWNESS)
        log_ratio = min(max(math.log(max(seconds, 1e-6) / max(usual, 1e-6)), -limit), limit)
        log_slowness += SLOWNESS_WEIGHT * (log_ratio - log_slowness)
        self._slowness[endpoint] = (log_slowness, self._clock())
        self._usual_log_slowness += SLOWNESS_WEIGHT * (log_slowness - self._usual_log_slowness)
        fit.observe((1.0, num_tokens, num_requests), seconds / math.exp(log_slowness))

    def _fit(self, model: str) -> LinearFit:
        fit = self._fits.get(model)
        if fit is None:
            fit = self._fits[model] = LinearFit(START, relative_noise=RELATIVE_NOISE)
        return fit

    def _log_slowness(self, endpoint: Endpoint) -> float:
        usual, known = self._usual_log_slowness, self._slowness.get(endpoint)
        if known is None:
            return usual
        log_slowness, learned = known
        remembered: float = 0.5 ** ((self._clock() - learned) / HALF_LIFE_SECONDS)
        return usual + (log_slowness - usual) * remembered
