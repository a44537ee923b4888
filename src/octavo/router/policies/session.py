"""A session stays where it is: rendezvous hashing with bounded load. No state, so two routers agree.

Thaler and Ravishankar, "A name-based mapping scheme for rendezvous", 1996; the bound is that of Mirrokni,
Thorup and Zadimoghaddam, "Consistent hashing with bounded loads", 2018.
"""

import math
from collections.abc import Sequence

import xxhash

from octavo.router.endpoints import Endpoint
from octavo.router.policies.base import Score
from octavo.router.policies.least_load import LeastLoad
from octavo.router.routed_request import RoutedRequest

LOAD_FACTOR = 1.25  # of the mean number of requests; beyond it a session overflows to its next choice


class SessionAffinity:
    """An endpoint's score is its rank for the session; those beyond the bound come after all others."""

    name = "session"
    looks_at_caches = False

    def __init__(self) -> None:
        self._without_session = LeastLoad()

    def score(self, candidates: Sequence[Endpoint], request: RoutedRequest) -> list[Score]:
        if request.head.session is None:
            return self._without_session.score(candidates, request)
        session = request.head.session
        order = sorted(candidates, key=lambda endpoint: _weight(session, endpoint.name), reverse=True)
        rank = {endpoint: position for position, endpoint in enumerate(order)}
        num_requests = 1 + sum(endpoint.load.num_requests for endpoint in candidates)
        bound = math.ceil(LOAD_FACTOR * num_requests / len(candidates))
        return [
            Score(endpoint, rank[endpoint] + len(candidates) * (endpoint.load.num_requests >= bound))
            for endpoint in candidates
        ]

    def chosen(self, endpoint: Endpoint, request: RoutedRequest) -> None:
        pass


def _weight(session: str, name: str) -> int:
    return xxhash.xxh3_64_intdigest(f"{name}\0{session}".encode())
