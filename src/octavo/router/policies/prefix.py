"""Prefix affinity: go where the prompt's beginning is cached, unless waiting there costs more.

The score is in tokens to compute before the first one of the answer: what the endpoint owes, and the part of
this prompt it lacks. So affinity gives way by itself, request by request, when it no longer pays.
"""

from collections.abc import Sequence

from octavo.router.endpoints import Endpoint
from octavo.router.policies.base import Score
from octavo.router.prefix_index import CachedPrefixes
from octavo.router.routed_request import RoutedRequest


class PrefixAffinity:
    name = "prefix"
    looks_at_caches = True

    def __init__(self, prefixes: CachedPrefixes) -> None:
        self._prefixes = prefixes

    def score(self, candidates: Sequence[Endpoint], request: RoutedRequest) -> list[Score]:
        return [self._score(endpoint, request) for endpoint in candidates]

    def _score(self, endpoint: Endpoint, request: RoutedRequest) -> Score:
        num_cached = self._prefixes.num_cached_tokens(endpoint, request)
        num_missing = request.num_prompt_tokens - num_cached
        return Score(endpoint, endpoint.load.num_tokens + num_missing, num_cached)

    def chosen(self, endpoint: Endpoint, request: RoutedRequest) -> None:
        pass
