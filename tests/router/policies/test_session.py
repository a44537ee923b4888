import collections
import random

from octavo.router.endpoints import Endpoint
from octavo.router.load import Reservation
from octavo.router.policies.base import pick
from octavo.router.policies.session import SessionAffinity
from tests.router.policies.some import endpoints, request


def place(candidates: list[Endpoint], session: str | None) -> str:
    scores = SessionAffinity().score(candidates, request(session=session))
    return pick(scores, random.Random(0)).endpoint.name


def test_a_session_stays_and_sessions_spread() -> None:
    everybody = endpoints(4)
    places = {f"s{n}": place(everybody, f"s{n}") for n in range(400)}
    assert all(place(list(reversed(everybody)), session) == where for session, where in places.items())
    assert min(collections.Counter(places.values()).values()) > 70


def test_only_the_sessions_of_one_that_leaves_move() -> None:
    everybody = endpoints(4)
    for n in range(200):
        before, after = place(everybody, f"s{n}"), place(everybody[1:], f"s{n}")
        assert before == after or before == "r0"


def test_a_hot_session_overflows_to_its_second_choice() -> None:
    everybody = endpoints(4)
    home = place(everybody, "hot")
    endpoint = next(endpoint for endpoint in everybody if endpoint.name == home)
    second = place([other for other in everybody if other is not endpoint], "hot")
    for _ in range(4):
        Reservation(endpoint.load, 10)
    assert place(everybody, "hot") == second


def test_without_a_session_the_load_decides() -> None:
    busy, idle = endpoints(2)
    Reservation(busy.load, 10)
    assert place([busy, idle], None) == idle.name
