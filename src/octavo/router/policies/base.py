"""The seam of routing: a policy scores the candidates, the lowest score wins, ties are drawn by lot."""

import operator
import random
from collections.abc import Sequence
from typing import Protocol

import msgspec

from octavo.router.endpoints import Endpoint
from octavo.router.routed_request import RoutedRequest


class Score(msgspec.Struct, frozen=True):
    endpoint: Endpoint
    value: float  # the lower, the better
    num_cached_tokens: int = 0  # of the prompt, predicted
    num_pending_tokens: int = 0  # of those: another prompt is having them computed


_VALUE = operator.attrgetter("value")


class RoutingPolicy(Protocol):
    """Synchronous: between scoring and the reservation nothing else is routed."""

    @property
    def name(self) -> str: ...

    @property
    def looks_at_caches(self) -> bool:
        """Its scores say how much of the prompt is cached; else they say 0, whatever is."""
        ...

    def score(self, candidates: Sequence[Endpoint], request: RoutedRequest) -> list[Score]:
        """One for each candidate, in their order."""
        ...

    def chosen(self, endpoint: Endpoint, request: RoutedRequest) -> None:
        """The request goes there: remember what helps with the next ones."""
        ...


def pick(scores: Sequence[Score], lots: random.Random) -> Score:
    """The best; among equals a random one, or routers and bursts would all choose the same."""
    best = min(map(_VALUE, scores))
    equals = [score for score in scores if score.value == best]
    return equals[int(lots.random() * len(equals))]
