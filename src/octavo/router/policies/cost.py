"""The predicted seconds to the first token, and what others wait meanwhile: the lowest sum.

Affinity to a cache and balance of load are one thing here, seconds: a prompt stays with its beginning as long
as waiting there is shorter than computing it anew elsewhere. What many ask for is computed for all of them:
where an endpoint gets less than its share, the part of a beginning that it lacks counts as shared with those
who will come for it. So one that has joined, or begun behind the others, catches up.

The weights are those that did best with all workloads of tools/fleet_simulation together.
"""

import itertools
from collections.abc import Sequence

from octavo.router.endpoints import Endpoint
from octavo.router.first_token_times import Rates
from octavo.router.knowledge import Knowledge
from octavo.router.policies.base import Score
from octavo.router.prefix_index import TOKENS_PER_CHUNK
from octavo.router.routed_request import RoutedRequest

LATER_WEIGHT = 0.6  # of a second of computing: those who come later wait for it
OTHERS_WEIGHT = 0.05  # of a second that another request there waits, beside one of this request
SHARING_TOKENS = 25  # of a prompt: what each request beside it costs the answer that follows
USE_WINDOWS = 6  # of demand: how long a beginning that is computed now is counted on


class PredictedCost:
    name = "cost"
    looks_at_caches = True

    def __init__(self, knowledge: Knowledge) -> None:
        self._times = knowledge.times
        self._prefixes = knowledge.prefixes
        self._demand = knowledge.demand

    def score(self, candidates: Sequence[Endpoint], request: RoutedRequest) -> list[Score]:
        rates = self._times.rates_of(candidates, request.model)
        found = self._prefixes.find_at(candidates, request)
        shared = self._tokens_for_others(candidates, rates, request, found)
        num_prompt_tokens = itertools.repeat(request.num_prompt_tokens)
        return list(map(self._score, candidates, rates, found, shared, num_prompt_tokens))

    def _tokens_for_others(
        self,
        candidates: Sequence[Endpoint],
        rates: Sequence[Rates],
        request: RoutedRequest,
        found: Sequence[tuple[int, int]],
    ) -> list[float]:
        """Of what each lacks and another one has: as much as those who will come for it would account for."""
        if not request.prefix:
            return [0.0] * len(candidates)
        num_cached = [cached for cached, _ in found]
        most = max(num_cached)
        num_chunks = min(most // TOKENS_PER_CHUNK, len(request.prefix))
        if not num_chunks or most == min(num_cached):
            return [0.0] * len(candidates)
        speeds = [1 / max(rate.per_token, 1e-6) for rate in rates]
        takeovers = self._demand.num_takeovers(candidates, speeds, request, num_chunks)
        return [
            (most - cached) * (1 - 1 / (1 + USE_WINDOWS * takeover))
            for cached, takeover in zip(num_cached, takeovers, strict=True)
        ]

    def _score(
        self,
        endpoint: Endpoint,
        rates: Rates,
        found: tuple[int, int],
        num_for_others: float,
        num_prompt_tokens: int,
    ) -> Score:
        num_cached, num_pending = found
        num_missing = num_prompt_tokens - num_cached
        num_own = num_missing - num_for_others
        beside = endpoint.load.num_requests * (OTHERS_WEIGHT * num_missing + SHARING_TOKENS)
        num_tokens = LATER_WEIGHT * num_own - num_for_others + beside  # beside those until the first token
        work = self._times.work(endpoint, rates, num_missing, num_pending)
        seconds = rates.predict(work) + num_tokens * rates.pace(endpoint.load.num_requests)
        return Score(endpoint, seconds, num_cached, num_pending)

    def chosen(self, endpoint: Endpoint, request: RoutedRequest) -> None:
        pass
