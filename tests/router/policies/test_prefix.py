import random

from octavo.router.endpoints import Endpoint
from octavo.router.load import Reservation
from octavo.router.policies.base import Score, pick
from octavo.router.policies.prefix import PrefixAffinity
from octavo.router.prefix_index import TOKENS_PER_CHUNK, CachedPrefixes
from octavo.router.routed_request import RoutedRequest
from tests.router.policies.some import endpoints, request


def prompt(*chunks: int) -> RoutedRequest:
    return request(prefix=chunks, num_prompt_tokens=len(chunks) * TOKENS_PER_CHUNK + 1)


def route(prefixes: CachedPrefixes, candidates: list[Endpoint], wanted: RoutedRequest) -> Score:
    score = pick(PrefixAffinity(prefixes).score(candidates, wanted), random.Random(0))
    prefixes.sent(score.endpoint, wanted)
    return score


def test_a_prompt_goes_where_its_beginning_went() -> None:
    prefixes, everybody = CachedPrefixes(), endpoints(4)
    first = route(prefixes, everybody, prompt(1, 2, 3))
    assert first.num_cached_tokens == 0
    again = route(prefixes, everybody, prompt(1, 2, 3, 4, 5))
    assert (again.endpoint, again.num_cached_tokens) == (first.endpoint, 3 * TOKENS_PER_CHUNK)


def test_affinity_ends_where_waiting_costs_more_than_it_saves() -> None:
    prefixes, everybody = CachedPrefixes(), endpoints(2)
    home = route(prefixes, everybody, prompt(1, 2)).endpoint
    Reservation(home.load, 3 * TOKENS_PER_CHUNK)
    assert route(prefixes, everybody, prompt(1, 2)).endpoint is not home


def test_a_burst_of_one_prompt_spreads_once_it_must() -> None:
    prefixes, everybody = CachedPrefixes(), endpoints(2)
    names = set()
    for _ in range(8):
        score = route(prefixes, everybody, prompt(1, 2, 3, 4))
        Reservation(score.endpoint.load, 4 * TOKENS_PER_CHUNK - score.num_cached_tokens)
        names.add(score.endpoint.name)
    assert names == {"r0", "r1"}
