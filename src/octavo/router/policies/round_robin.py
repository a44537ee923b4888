"""Whoever was chosen longest ago. One that joins or comes back is next, and nobody else's turn moves."""

import itertools
import weakref
from collections.abc import Sequence

from octavo.router.endpoints import Endpoint
from octavo.router.policies.base import Score
from octavo.router.routed_request import RoutedRequest


class RoundRobin:
    name = "round-robin"
    looks_at_caches = False

    def __init__(self) -> None:
        self._turns = itertools.count(1)
        self._last_turn: weakref.WeakKeyDictionary[Endpoint, int] = weakref.WeakKeyDictionary()

    def score(self, candidates: Sequence[Endpoint], request: RoutedRequest) -> list[Score]:
        return [Score(endpoint, self._last_turn.get(endpoint, 0)) for endpoint in candidates]

    def chosen(self, endpoint: Endpoint, request: RoutedRequest) -> None:
        self._last_turn[endpoint] = next(self._turns)
