import random

from octavo.router.load import Reservation
from octavo.router.policies.base import pick
from octavo.router.policies.least_load import LeastLoad
from tests.router.policies.some import endpoints, request


def test_the_one_that_owes_least_is_chosen() -> None:
    busy, idle = endpoints(2)
    Reservation(busy.load, 1)
    for _ in range(20):
        assert pick(LeastLoad().score([busy, idle], request()), random.Random(0)).endpoint is idle


def test_long_prompts_weigh_more_until_their_first_token() -> None:
    one, two = endpoints(2)
    long = Reservation(one.load, 5000)
    for _ in range(3):
        Reservation(two.load, 10)
    first, second = LeastLoad().score([one, two], request())
    assert first.value > second.value
    long.first_token()
    first, second = LeastLoad().score([one, two], request())
    assert first.value < second.value
