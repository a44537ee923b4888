"""The predicted seconds to the first token, and what the others there wait meanwhile: the lowest sum.

Affinity to a cache and balance of load are one thing here, seconds: a prompt stays with its beginning as long
as waiting there is shorter than computing it anew elsewhere.
"""

from collections.abc import Sequence

from octavo.router.endpoints import Endpoint
from octavo.router.knowledge import Knowledge
from octavo.router.policies.base import Score
from octavo.router.routed_request import RoutedRequest

OTHERS_WEIGHT = 0.3  # of a second that another request there waits, beside one of this request


class PredictedCost:
    name = "cost"

    def __init__(self, knowledge: Knowledge) -> None:
        self._times = knowledge.times
        self._prefixes = knowledge.prefixes

    def score(self, candidates: Sequence[Endpoint], request: RoutedRequest) -> list[Score]:
        return [self._score(endpoint, request) for endpoint in candidates]

    def _score(self, endpoint: Endpoint, request: RoutedRequest) -> Score:
        num_cached = self._prefixes.num_cached_tokens(endpoint, request)
        num_missing = request.num_prompt_tokens - num_cached
        num_tokens, num_requests = endpoint.load.num_prompt_tokens + num_missing, endpoint.load.num_requests
        own = self._times.predict(endpoint, request.model, num_tokens, num_requests)
        others = num_requests * num_missing * self._times.seconds_per_token(endpoint, request.model)
        return Score(endpoint, own + OTHERS_WEIGHT * others, num_cached)

    def chosen(self, endpoint: Endpoint, request: RoutedRequest) -> None:
        pass
