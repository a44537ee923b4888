"""The endpoint that owes the fewest tokens, by the router's own reservations, not by gauges seconds old."""

from collections.abc import Sequence

from octavo.router.endpoints import Endpoint
from octavo.router.policies.base import Score
from octavo.router.routed_request import RoutedRequest


class LeastLoad:
    name = "least-load"
    looks_at_caches = False

    def score(self, candidates: Sequence[Endpoint], request: RoutedRequest) -> list[Score]:
        return [Score(endpoint, endpoint.load.num_tokens) for endpoint in candidates]

    def chosen(self, endpoint: Endpoint, request: RoutedRequest) -> None:
        pass
