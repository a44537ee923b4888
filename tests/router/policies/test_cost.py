from octavo.router.first_token_times import Work
from octavo.router.knowledge import Knowledge
from octavo.router.load import Reservation
from octavo.router.policies.cost import PredictedCost
from tests.router.policies.some import endpoints, request

LONG = request(prefix=tuple(range(100)), num_prompt_tokens=6500)


def test_it_stays_with_the_cache_until_waiting_there_takes_longer() -> None:
    knowledge = Knowledge()
    policy, (home, other) = PredictedCost(knowledge), endpoints(2)
    knowledge.prefixes.sent(home, LONG)
    knowledge.prefixes.computed(home, LONG)
    at_home, elsewhere = policy.score([home, other], LONG)
    assert at_home.num_cached_tokens == 6400 and at_home.value < elsewhere.value
    for _ in range(20):  # prompts of which it waits for no more than it has itself to compute
        Reservation(home.load, 5000)
    at_home, elsewhere = policy.score([home, other], LONG)
    assert at_home.value < elsewhere.value
    for _ in range(80):
        Reservation(home.load, 5000)
    at_home, elsewhere = policy.score([home, other], LONG)
    assert at_home.value > elsewhere.value


def test_a_beginning_that_two_wait_for_is_computed_in_a_second_place() -> None:
    knowledge = Knowledge()
    policy, (home, other) = PredictedCost(knowledge), endpoints(2)
    for num_tokens in (LONG.num_prompt_tokens, 100):
        knowledge.prefixes.sent(home, LONG)
        knowledge.demand.routed(home, LONG)
        Reservation(home.load, num_tokens)
    at_home, elsewhere = policy.score([home, other], LONG)
    assert (at_home.num_cached_tokens, at_home.num_pending_tokens) == (6400, 6400)
    assert at_home.value > elsewhere.value


def test_what_many_ask_for_is_computed_where_requests_are_missing() -> None:
    knowledge = Knowledge()
    policy, (home, other) = PredictedCost(knowledge), endpoints(2)
    for _ in range(2):
        knowledge.prefixes.sent(home, LONG)
        knowledge.prefixes.computed(home, LONG)
        knowledge.demand.routed(home, LONG)
    Reservation(home.load, 0)  # what is left to do there is little
    at_home, elsewhere = policy.score([home, other], LONG)
    assert at_home.value < elsewhere.value
    for _ in range(200):
        knowledge.demand.routed(home, LONG)
    at_home, elsewhere = policy.score([home, other], LONG)
    assert at_home.value > elsewhere.value
    for _ in range(200):
        knowledge.demand.routed(other, request())  # it has enough to do with others
    at_home, elsewhere = policy.score([home, other], LONG)
    assert at_home.value < elsewhere.value


def test_among_cold_ones_the_less_loaded_is_better() -> None:
    policy, (busy, idle) = PredictedCost(Knowledge()), endpoints(2)
    Reservation(busy.load, 0)
    of_busy, of_idle = policy.score([busy, idle], request())
    assert of_idle.value < of_busy.value


def test_a_slow_one_gets_less() -> None:
    knowledge = Knowledge()
    policy, (slow, quick) = PredictedCost(knowledge), endpoints(2)
    for _ in range(50):
        knowledge.times.observe(slow, "m", Work(1000, 0, 0, 0), 4.0)
        knowledge.times.observe(quick, "m", Work(1000, 0, 0, 0), 0.4)
    of_slow, of_quick = policy.score([slow, quick], request())
    assert of_slow.value > 3 * of_quick.value
