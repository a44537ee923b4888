"""What is left of a client's limits: to the request and to the second."""

import hypothesis
import hypothesis.strategies as st
import pytest

from octavo.core.errors import RateLimitError
from octavo.http.allowance import UNLIMITED, Allowance, Allowances, format_duration
from octavo.http.api_keys import ApiKey, KeyLimits


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def refusal(allowance: Allowance) -> RateLimitError:
    with pytest.raises(RateLimitError) as raised:
        allowance.enter()
    return raised.value


def test_so_many_requests_pass_at_once_then_one_each_time_there_is_room(clock: Clock) -> None:
    allowance = Allowance(KeyLimits(requests_per_minute=6), clock=clock)
    for _ in range(6):
        allowance.leave(allowance.enter())
    error = refusal(allowance)
    assert (str(error), error.retry_after_seconds) == ("This key's limit is 6 requests per minute.", 10)
    clock.now += 9.5
    assert refusal(allowance).retry_after_seconds == 1
    clock.now += 0.5
    allowance.enter()
    refusal(allowance)


@hypothesis.given(
    st.integers(1, 100), st.lists(st.floats(0.001, 30, allow_nan=False), min_size=1, max_size=60)
)
def test_who_waits_as_told_is_admitted_and_a_minute_never_has_more_than_two(
    per_minute: int, pauses: list[float]
) -> None:
    clock = Clock()
    allowance = Allowance(KeyLimits(requests_per_minute=per_minute), clock=clock)
    admitted: list[float] = []
    for pause in pauses:
        clock.now += pause
        try:
            allowance.leave(allowance.enter())
        except RateLimitError as error:
            clock.now += error.retry_after_seconds
            allowance.leave(allowance.enter())
        admitted.append(clock.now)
    for first in admitted:
        assert sum(first <= time < first + 60 for time in admitted) <= 2 * per_minute


def test_requests_at_the_same_time_are_bounded_and_the_wait_is_estimated(clock: Clock) -> None:
    allowance = Allowance(KeyLimits(concurrency=2), clock=clock)
    first = allowance.enter()
    assert refusal_after(allowance, clock, 4.0) == 1  # none has ended: nothing is known
    allowance.leave(first)  # took 4 seconds
    allowance.enter()
    clock.now += 1.0
    assert refusal(allowance).retry_after_seconds == 1  # the oldest is due
    assert str(refusal(allowance)) == "This key's limit is 2 requests at the same time."


def refusal_after(allowance: Allowance, clock: Clock, seconds: float) -> int:
    allowance.enter()
    clock.now += seconds
    return refusal(allowance).retry_after_seconds


def test_tokens_of_prompt_and_answer_count(clock: Clock) -> None:
    allowance = Allowance(KeyLimits(tokens_per_minute=600), clock=clock)
    allowance.take_prompt(100)
    allowance.take_answer(450)
    with pytest.raises(RateLimitError, match="600 tokens per minute") as raised:
        allowance.take_prompt(100)  # 50 are left, 10 come in a second
    assert raised.value.retry_after_seconds == 5
    clock.now += 5
    allowance.take_prompt(100)
    allowance.take_answer(200)  # known only now: below zero
    assert refusal(allowance).retry_after_seconds == 20


def test_what_is_given_back_is_there_again_and_no_more(clock: Clock) -> None:
    allowance = Allowance(KeyLimits(tokens_per_minute=600), clock=clock)
    for _ in range(9):
        allowance.take_prompt(500)
        allowance.return_prompt(500)
    allowance.return_prompt(500)
    assert dict(allowance.headers())[b"x-ratelimit-remaining-tokens"] == b"600"


def test_a_prompt_beyond_a_minutes_worth_passes_once_the_bucket_is_full(clock: Clock) -> None:
    allowance = Allowance(KeyLimits(tokens_per_minute=60), clock=clock)
    allowance.take_prompt(150)
    assert refusal(allowance).retry_after_seconds == 90
    clock.now += 149
    with pytest.raises(RateLimitError):
        allowance.take_prompt(150)
    clock.now += 1
    allowance.take_prompt(150)


def test_the_headers_say_what_is_left(clock: Clock) -> None:
    allowance = Allowance(KeyLimits(requests_per_minute=60, tokens_per_minute=600), clock=clock)
    allowance.enter()
    allowance.take_prompt(90)
    assert dict(allowance.headers()) == {
        b"x-ratelimit-limit-requests": b"60",
        b"x-ratelimit-remaining-requests": b"59",
        b"x-ratelimit-reset-requests": b"1s",
        b"x-ratelimit-limit-tokens": b"600",
        b"x-ratelimit-remaining-tokens": b"510",
        b"x-ratelimit-reset-tokens": b"9s",
    }
    allowance.take_answer(1000)
    assert dict(allowance.headers())[b"x-ratelimit-remaining-tokens"] == b"0"


@pytest.mark.parametrize("allowance", (Allowance(), UNLIMITED))
def test_without_limits_all_pass_and_nothing_is_said(allowance: Allowance) -> None:
    for _ in range(1000):
        allowance.leave(allowance.enter())
    allowance.take_prompt(10**9)
    allowance.take_answer(10**9)
    allowance.return_prompt(10**9)
    assert allowance.headers() == []


def test_keys_of_one_name_share_and_new_limits_begin_anew(clock: Clock) -> None:
    allowances = Allowances(clock=clock)
    limits = KeyLimits(requests_per_minute=1)
    one, other = ApiKey.of("x", "a", limits), ApiKey.of("y", "a", limits)
    allowances.of(one).enter()
    refusal(allowances.of(other))
    allowances.of(ApiKey.of("x", "b", limits)).enter()
    allowances.of(ApiKey.of("x", "a", KeyLimits(requests_per_minute=2))).enter()


def test_where_nobody_counts_tokens_they_have_no_limit() -> None:
    allowances = Allowances(counts_tokens=False)
    allowance = allowances.of(ApiKey.of("x", "a", KeyLimits(requests_per_minute=5, tokens_per_minute=1)))
    allowance.take_prompt(10)
    allowance.enter()
    assert {name for name, _ in allowance.headers()} == {
        *(b"x-ratelimit-%b-requests" % name for name in (b"limit", b"remaining", b"reset"))
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    ((0.0, "0ms"), (0.0171, "18ms"), (1.0, "1s"), (59.2, "1m0s"), (86.4, "1m27s"), (360, "6m0s")),
)
def test_durations_are_spelled_as_openai_does(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
