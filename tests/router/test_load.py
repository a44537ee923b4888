"""What an endpoint owes, and what of it a prompt that comes now has to wait for."""

import pytest

from octavo.router.load import ANSWERING_TOKENS, LEFT_ERROR, Load, Reservation

SECONDS_PER_TOKEN = 0.001


def before(load: Load, num_tokens: int, now: float = 0.0, *, num_pending: int = 0) -> float:
    return load.tokens_before(num_tokens, num_pending, now=now, seconds_per_token=SECONDS_PER_TOKEN)


def test_a_reservation_is_given_back_once() -> None:
    load = Load()
    one, _ = Reservation(load, 100), Reservation(load, 30)
    assert (load.num_requests, load.num_prompt_tokens) == (2, 130)
    for _ in range(2):
        one.first_token()
        assert load.num_tokens == 30 + 2 * ANSWERING_TOKENS
    one.end()
    assert (load.num_requests, load.num_received, load.num_tokens) == (1, 2, 30 + ANSWERING_TOKENS)


def test_nobody_waits_for_more_of_a_prompt_than_it_has_itself() -> None:
    load = Load()
    assert before(load, 500) == 0
    for num_tokens in (1000, 40, 0):
        Reservation(load, num_tokens)
    assert before(load, 100) == 100 + 40
    assert before(load, 5000) == 1000 + 40


def test_what_has_been_computed_is_inferred_from_the_time() -> None:
    load = Load()
    before(load, 0, now=10.0)
    long, short = Reservation(load, 600), Reservation(load, 200)
    assert before(load, 1000, now=10.0) == 800
    assert 600 < before(load, 1000, now=10.2) < 1.1 * 600
    assert before(load, 100, now=10.2) == pytest.approx(100 + 100)
    assert 200 < before(load, 1000, now=10.6) < 400
    for reservation in (long, short):
        reservation.first_token()
    assert before(load, 1000, now=10.6) == 0


def test_of_what_should_be_computed_and_is_not_a_little_is_left_the_less_the_later() -> None:
    load = Load()
    before(load, 0, now=10.0)
    Reservation(load, 500)
    left = [before(load, 1000, now=now) for now in (10.5, 10.6, 11.0, 99.0)]
    assert left[0] == pytest.approx(LEFT_ERROR * 500)
    assert left == sorted(left, reverse=True) and left[0] > 1.3 * left[1] > 0
    assert left[-1] < 1


def test_that_others_are_late_computes_nothing_of_a_new_prompt() -> None:
    load = Load()
    before(load, 0, now=10.0)
    Reservation(load, 100)
    before(load, 1000, now=99.0)
    Reservation(load, 500)
    assert 500 <= before(load, 1000, now=99.0) <= 600


def test_a_beginning_that_is_being_computed_counts_in_full() -> None:
    load = Load()
    before(load, 0)
    parent = Reservation(load, 800)
    assert before(load, 10, now=0.7) == pytest.approx(10)
    assert before(load, 10, now=0.7, num_pending=700) == 700
    parent.first_token()
    assert before(load, 10, now=0.7, num_pending=700) == 0
