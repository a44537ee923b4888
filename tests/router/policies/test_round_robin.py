import random

from octavo.router.endpoints import Endpoint
from octavo.router.policies.base import pick
from octavo.router.policies.round_robin import RoundRobin
from tests.router.policies.some import endpoints, request


def turns(policy: RoundRobin, candidates: list[Endpoint], count: int) -> list[str]:
    names = []
    for _ in range(count):
        endpoint = pick(policy.score(candidates, request()), random.Random(0)).endpoint
        policy.chosen(endpoint, request())
        names.append(endpoint.name)
    return names


def test_everybody_in_turn() -> None:
    names = turns(RoundRobin(), endpoints(3), 9)
    assert sorted(names[:3]) == ["r0", "r1", "r2"] and names[:3] == names[3:6] == names[6:]


def test_one_that_is_away_misses_its_turns_and_nobody_elses_moves() -> None:
    policy, everybody = RoundRobin(), endpoints(3)
    first = turns(policy, everybody, 3)
    away = next(endpoint for endpoint in everybody if endpoint.name == first[0])
    rest = [endpoint for endpoint in everybody if endpoint is not away]
    assert turns(policy, rest, 4) == [*first[1:], *first[1:]]
    assert turns(policy, everybody, 1) == [away.name]
