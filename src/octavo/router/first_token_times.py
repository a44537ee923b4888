"""How long endpoints take to a first token: learned from what they took.

One formula for all endpoints of a model (seconds, by the prompt tokens to compute, alone or beside answers,
and the prompts and the answers beside) and one factor for each endpoint. What is not observed for a while is
forgotten: one that was slow is tried again. One that is new is taken to be like the others.
"""

import math
import time
import weakref
from collections.abc import Callable, Sequence
from typing import NamedTuple

from octavo.core.linear_fit import LinearFit
from octavo.router.endpoints import Endpoint

START = (0.01, 4e-4, 1e-4, 1e-2, 2e-3)  # Rates before anything was observed
RELATIVE_NOISE = 0.5
SLOWNESS_WEIGHT = 0.1  # of one observation
SLOWNESS_NOISE = 0.2  # of its logarithm, with that weight: less is no difference
MAX_SLOWNESS = 16.0
RATES_SECONDS = 0.05  # for so long rates stay as they are if nothing is observed: little is forgotten in it
HALF_LIFE_SECONDS = 60.0  # of what is known


class Work(NamedTuple):
    """What is in the way of a first token at an endpoint."""

    num_tokens: float  # of prompts, to compute before it, its own prompt's among them
    num_shared: float  # of these tokens: computed in steps that go on with answers too
    num_prompts: int  # others, that are being computed
    num_answers: int  # under way


class Rates(NamedTuple):
    """What an endpoint takes for a model as of now, in seconds.

    A prompt beside another costs more than its tokens: engines give each a part of every step. Beside answers
    they compute prompts in smaller pieces, and be it one answer: so tokens take longer there.
    """

    base: float  # of any request
    per_token: float  # of a prompt that is not cached
    per_shared_token: float  # in addition
    per_prompt: float
    per_answer: float

    def pace(self, num_answers: int) -> float:
        """Of prompts, beside so many answers: seconds per token, never 0."""
        return (self.per_token + self.per_shared_token if num_answers else self.per_token) or 1e-6

    def whole_pace(self, num_tokens: int, num_prompts: int, num_answers: int) -> float:
        """Of all prompts that an endpoint has, beside its answers, by all that they take: seconds per token,
        never 0. num_tokens: of theirs."""
        if not num_prompts:
            return self.pace(num_answers)
        seconds = self.predict(
            Work(num_tokens, num_tokens if num_answers else 0, num_prompts - 1, num_answers)
        )
        return seconds / max(num_tokens, 1) or 1e-6

    def predict(self, work: Work) -> float:
        """To the first token."""
        base, per_token, per_shared_token, per_prompt, per_answer = self  # quicker than by name
        num_tokens, num_shared, num_prompts, num_answers = work
        seconds = base + per_token * num_tokens + per_shared_token * num_shared
        return seconds + per_prompt * num_prompts + per_answer * num_answers


class FirstTokenTimes:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._fits: dict[str, LinearFit] = {}  # by model: only of models that endpoints serve
        self._observed: dict[str, float] = {}  # by model: when its formula was
        self._slowness: weakref.WeakKeyDictionary[Endpoint, tuple[float, float]] = (
            weakref.WeakKeyDictionary()
        )  # logarithm, and when it was learned
        self._usual_log_slowness = 0.0  # of those observed of late; below 0, as means lie above most times
        self._rates: dict[tuple[Endpoint, str], Rates] = {}  # by model, too; all as of one time
        self._rates_as_of = -math.inf

    def rates(self, endpoint: Endpoint, model: str) -> Rates:
        return self.rates_of((endpoint,), model)[0]

    def rates_of(self, endpoints: Sequence[Endpoint], model: str) -> list[Rates]:
        now, known = self._clock(), self._rates
        if not 0 <= now - self._rates_as_of < RATES_SECONDS:
            known.clear()
            self._rates_as_of = now
        return [known.get((endpoint, model)) or self._new_rates(endpoint, model) for endpoint in endpoints]

    def _new_rates(self, endpoint: Endpoint, model: str) -> Rates:
        slowness = math.exp(self._significant(self._beside_usual(endpoint)))
        rates = Rates(*[value * slowness for value in self._fit(model).coefficients])
        self._rates[endpoint, model] = rates
        return rates

    def work(self, endpoint: Endpoint, rates: Rates, num_tokens: int, num_pending: int) -> Work:
        """For a prompt that is sent there now and has num_tokens to compute; num_pending: see Load."""
        load, now = endpoint.load, self._clock()
        if not load.num_requests:
            load.rest(now)
            return Work(num_tokens, 0.0, 0, 0)
        num_prompts = load.num_prompts
        num_answers = load.num_requests - num_prompts
        num_before = load.tokens_before(
            num_tokens,
            num_pending,
            now=now,
            seconds_per_token=rates.whole_pace(load.num_prompt_tokens, num_prompts, num_answers),
        )
        num_shared = float(num_tokens)  # what are prompts now will be answers by then
        if num_answers:
            num_shared += num_before
        return Work(num_tokens + num_before, num_shared, num_prompts, num_answers)

    def observe(self, endpoint: Endpoint, model: str, work: Work, seconds: float) -> None:
        """It took so long."""
        log_slowness, fit = self._usual_log_slowness + self._beside_usual(endpoint), self._fit(model)
        usual = Rates(*fit.coefficients).predict(work)
        limit = math.log(MAX_SLOWNESS)
        log_ratio = min(max(math.log(max(seconds, 1e-6) / max(usual, 1e-6)), -limit), limit)
        self._rates.clear()
        log_slowness += SLOWNESS_WEIGHT * (log_ratio - log_slowness)
        self._slowness[endpoint] = (log_slowness, self._clock())
        self._usual_log_slowness += SLOWNESS_WEIGHT * (log_slowness - self._usual_log_slowness)
        slowness = math.exp(log_slowness - self._usual_log_slowness)
        fit.observe((1.0, *work), seconds / slowness, elapsed=self._elapsed(model))

    def forget(self, endpoint: Endpoint) -> None:
        """It is gone, and may be forgotten by everybody."""
        for key in [key for key in self._rates if key[0] is endpoint]:
            del self._rates[key]

    def _elapsed(self, model: str) -> float:
        """Seconds since the last observation: by time and not by their number the formula drifts, for in a
        large fleet a few hundred observations are one second, in which all prompts may be alike."""
        now = self._clock()
        seconds = now - self._observed.get(model, now)
        self._observed[model] = now
        return seconds

    def _fit(self, model: str) -> LinearFit:
        fit = self._fits.get(model)
        if fit is None:
            fit = self._fits[model] = LinearFit(START, relative_noise=RELATIVE_NOISE)
        return fit

    def _significant(self, deviation: float) -> float:
        """Shrunk to the usual one as far as it may be noise (James and Stein, "Estimation with quadratic
        loss", 1961, the positive part), or of many that are alike the luckiest would get most.
        """
        if abs(deviation) <= SLOWNESS_NOISE:
            return 0.0
        return deviation * (1 - (SLOWNESS_NOISE / deviation) ** 2)

    def _beside_usual(self, endpoint: Endpoint) -> float:
        """The logarithm of how slow it is beside the others. What is usual is no part of it: times lie below
        their mean more often than above, so a formula that followed it would run away from them."""
        known = self._slowness.get(endpoint)
        if known is None:
            return 0.0
        log_slowness, learned = known
        remembered: float = 0.5 ** ((self._clock() - learned) / HALF_LIFE_SECONDS)
        return (log_slowness - self._usual_log_slowness) * remembered
