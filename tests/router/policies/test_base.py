import collections
import random

from octavo.router.policies.base import Score, pick
from tests.router.policies.some import endpoints


def test_the_lowest_score_wins() -> None:
    one, two, three = endpoints(3)
    assert pick([Score(one, 2), Score(two, 1), Score(three, 3)], random.Random(0)).endpoint is two


def test_lots_are_drawn_among_equals_only() -> None:
    one, two, three = endpoints(3)
    lots = random.Random(0)
    scores = [Score(one, 1), Score(two, 1), Score(three, 3)]
    count = collections.Counter(pick(scores, lots).endpoint.name for _ in range(200))
    assert set(count) == {"r0", "r1"} and min(count.values()) > 60
