"""The predicted seconds to the first token, and what the others there wait meanwhile: the lowest sum.

Affinity to a cache and balance of load are one thing here, seconds: a prompt stays with its beginning as long
as waiting there is shorter than computing it anew elsewhere. The weights are those that did best with all
workloads of tools/fleet_simulation together.
"""

from collections.abc import Sequence

from octavo.router.endpoints import Endpoint
from octavo.router.knowledge import Knowledge
from octavo.router.policies.base import Score
from octavo.router.routed_request import RoutedRequest

OTHERS_WEIGHT = 0.05  # of a second that another request there waits, beside one of this request
SHARING_TOKENS = 25  # of a prompt: what each request beside it costs the answer that follows


class PredictedCost:
    name = "cost"

    def __init__(self, knowledge: Knowledge) -> None:
        self._times = knowledge.times
        self._prefixes = knowledge.prefixes

    def score(self, candidates: Sequence[Endpoint], request: RoutedRequest) -> list[Score]:
        return [self._score(endpoint, request) for endpoint in candidates]

    def _score(self, endpoint: Endpoint, request: RoutedRequest) -> Score:
        rates, num_requests = self._times.rates(endpoint, request.model), endpoint.load.num_requests
        num_cached, num_pending = self._prefixes.find(endpoint, request)
        num_missing = request.num_prompt_tokens - num_cached
        beside = num_requests * (OTHERS_WEIGHT * num_missing + SHARING_TOKENS)
        work = self._times.work(endpoint, rates, num_missing, num_pending)
        seconds = rates.predict(work) + beside * rates.per_token
        return Score(endpoint, seconds, num_cached, num_pending)

    def chosen(self, endpoint: Endpoint, request: RoutedRequest) -> None:
        pass
