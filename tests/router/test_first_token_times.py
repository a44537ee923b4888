import gc
import random
import weakref

import pytest

from octavo.router.first_token_times import HALF_LIFE_SECONDS, FirstTokenTimes, Work
from octavo.router.load import Reservation
from tests.router.policies.some import endpoints


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def learn(times: FirstTokenTimes, slowness: dict, count: int = 300) -> None:
    """A token takes a millisecond, beside answers two; a prompt beside takes thirty, an answer five."""
    lots = random.Random(0)
    for _ in range(count):
        endpoint = lots.choice(list(slowness))
        num_tokens = lots.randrange(1, 3000)
        num_shared = lots.choice((0, num_tokens))
        work = Work(num_tokens, num_shared, lots.randrange(8), lots.randrange(20))
        seconds = seconds_of(work) * slowness[endpoint]
        times.observe(endpoint, "m", work, seconds * lots.uniform(0.8, 1.2))


def seconds_of(work: Work) -> float:
    num_tokens = work.num_tokens + work.num_shared
    return 0.02 + 0.001 * num_tokens + 0.03 * work.num_prompts + 0.005 * work.num_answers


def test_it_learns_what_tokens_prompts_and_answers_cost() -> None:
    times, everybody = FirstTokenTimes(Clock()), endpoints(3)
    learn(times, dict.fromkeys(everybody, 1.0))
    for work in (Work(100, 0, 0, 0), Work(1000, 1000, 0, 5), Work(1000, 0, 5, 0), Work(3000, 3000, 8, 20)):
        predicted = times.rates(everybody[0], "m").predict(work)
        assert predicted == pytest.approx(seconds_of(work), rel=0.25)
    assert times.rates(everybody[0], "m").pace(0) == pytest.approx(0.001, rel=0.2)
    assert times.rates(everybody[0], "m").pace(3) == pytest.approx(0.002, rel=0.2)


def test_what_others_have_left_goes_slower_beside_answers() -> None:
    clock = Clock()
    times, (one, answering) = FirstTokenTimes(clock), endpoints(2)
    learn(times, {one: 1.0, answering: 1.0})
    Reservation(answering.load, 10).first_token()
    for endpoint in (one, answering):
        rates = times.rates(endpoint, "m")
        assert times.work(endpoint, rates, 500, 0)[:2] == (500, 500 if endpoint is answering else 0)
        Reservation(endpoint.load, 500)
    clock.now += 0.2
    alone, beside = (times.work(endpoint, rates, 500, 0) for endpoint in (one, answering))
    assert (alone.num_tokens, alone.num_shared) == (pytest.approx(500 + 300, rel=0.1), 500)
    assert (beside.num_tokens, beside.num_shared) == (pytest.approx(500 + 400, rel=0.1), beside.num_tokens)
    assert (beside.num_prompts, beside.num_answers) == (1, 1)


def test_what_others_have_left_takes_all_that_was_predicted_not_its_tokens_alone() -> None:
    clock = Clock()
    times, (few, many) = FirstTokenTimes(clock), endpoints(2)
    learn(times, {few: 1.0, many: 1.0})
    for endpoint, num_answers in ((few, 1), (many, 20)):
        for _ in range(num_answers):
            Reservation(endpoint.load, 10).first_token()
        times.work(endpoint, times.rates(endpoint, "m"), 500, 0)
        Reservation(endpoint.load, 100)
    clock.now += 0.2
    left_by_few, left_by_many = (
        times.work(endpoint, times.rates(endpoint, "m"), 500, 0).num_tokens - 500 for endpoint in (few, many)
    )
    assert left_by_many > 1.5 * left_by_few > 0


def test_one_is_slower_than_the_others_until_that_is_long_ago() -> None:
    clock = Clock()
    times, (slow, *others) = FirstTokenTimes(clock), endpoints(4)
    learn(times, {slow: 4.0} | dict.fromkeys(others, 1.0), 800)
    ratio = times.rates(slow, "m").predict(Work(1000, 0, 0, 0)) / times.rates(others[0], "m").predict(
        Work(1000, 0, 0, 0)
    )
    assert ratio == pytest.approx(4, rel=0.25)
    clock.now += 10 * HALF_LIFE_SECONDS
    assert (
        times.rates(slow, "m").predict(Work(1000, 0, 0, 0))
        / times.rates(others[0], "m").predict(Work(1000, 0, 0, 0))
        < 1.05
    )


def test_luck_is_no_speed() -> None:
    times, everybody = FirstTokenTimes(Clock()), endpoints(8)
    learn(times, dict.fromkeys(everybody, 1.0))
    assert len({times.rates(endpoint, "m") for endpoint in everybody}) == 1


def test_what_is_usual_does_not_run_away_from_the_formula() -> None:
    """Of times that are noisy the mean of the logarithms lies below the logarithm of the mean."""
    clock = Clock()
    times, everybody = FirstTokenTimes(clock), endpoints(3)
    lots, work = random.Random(0), Work(1000, 0, 1, 0)
    for number in range(20_000):
        clock.now += 0.05
        seconds = seconds_of(work) * lots.lognormvariate(0, 0.6)
        times.observe(everybody[number % 3], "m", work, seconds)
    quick, *others = everybody
    for number in range(600):
        clock.now += 0.05
        endpoint = everybody[number % 3]
        seconds = seconds_of(work) * lots.lognormvariate(0, 0.6) / (3 if endpoint is quick else 1)
        times.observe(endpoint, "m", work, seconds)
    of_quick, *of_others = (times.rates(endpoint, "m").predict(work) for endpoint in (quick, *others))
    assert of_quick < 0.7 * min(of_others)


def test_a_model_that_is_new_begins_as_any_other_does() -> None:
    times, (one,) = FirstTokenTimes(Clock()), endpoints(1)
    before = times.rates(one, "other")
    lots = random.Random(0)
    for _ in range(2000):
        times.observe(one, "m", Work(1000, 0, 1, 0), lots.lognormvariate(0, 0.6))
    assert times.rates(one, "other") == pytest.approx(before, rel=0.1)


def test_many_short_prompts_in_a_moment_do_not_make_it_forget_what_long_ones_take() -> None:
    """Their numbers of tokens are estimates: in truth they are equally long."""
    clock = Clock()
    times, (one,) = FirstTokenTimes(clock), endpoints(1)
    learn(times, {one: 1.0})
    lots = random.Random(1)
    for _ in range(500):
        clock.now += 0.001
        times.observe(one, "m", Work(lots.choice((200, 400)), 0, 0, 0), 0.32 * lots.uniform(0.8, 1.2))
    assert times.rates(one, "m").predict(Work(2000, 0, 0, 0)) > 1.2  # it is 2; by the last 200 alone, 0.7


def test_one_that_is_new_is_like_the_others() -> None:
    times, (new, *others) = FirstTokenTimes(Clock()), endpoints(3)
    work = Work(500, 500, 1, 5)
    for _ in range(100):
        for endpoint in others:  # much quicker than the formula starts with
            times.observe(endpoint, "m", work, 0.01)
    usual = times.rates(others[0], "m").predict(work)
    assert times.rates(new, "m").predict(work) == pytest.approx(usual, rel=0.1)


def test_who_is_gone_is_not_held() -> None:
    times, everybody = FirstTokenTimes(Clock()), endpoints(2)
    learn(times, dict.fromkeys(everybody, 1.0))
    for endpoint in everybody:
        times.rates(endpoint, "m")
    known = weakref.ref(everybody[0])
    times.forget(everybody.pop(0))
    del endpoint
    gc.collect()
    assert known() is None


def test_models_are_told_apart() -> None:
    times, (one,) = FirstTokenTimes(Clock()), endpoints(1)
    before = times.rates(one, "other").predict(Work(1000, 0, 0, 0))
    learn(times, {one: 1.0}, 50)
    assert times.rates(one, "other").per_token == pytest.approx(before / 1000, rel=0.5)
    assert times.rates(one, "m").predict(Work(1000, 0, 0, 0)) > 1.5 * before


def test_nonsense_is_survived() -> None:
    times, (one,) = FirstTokenTimes(Clock()), endpoints(1)
    for seconds in (0.0, -1.0, 1e9, 1e-12) * 20:
        times.observe(one, "m", Work(0, 0, 0, 0), seconds)
        assert 0 <= times.rates(one, "m").predict(Work(1000, 1000, 1, 2)) < float("inf")
