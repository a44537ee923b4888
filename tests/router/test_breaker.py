from octavo.router.breaker import MAX_OPEN_SECONDS, NUM_FAILURES, CircuitBreaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> CircuitBreaker:
    breaker = CircuitBreaker(open_seconds=5.0, clock=clock)
    assert [breaker.fail() for _ in range(NUM_FAILURES)] == [False] * (NUM_FAILURES - 1) + [True]
    return breaker


def half_opened(clock: Clock) -> CircuitBreaker:
    breaker = opened(clock)
    clock.now = 5.0
    return breaker


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = CircuitBreaker()
    for _ in range(10):
        breaker.fail()
        breaker.succeed()
    assert breaker.is_passable
    assert not opened(Clock()).is_passable


def test_after_a_while_one_request_may_try() -> None:
    breaker = half_opened(Clock())
    assert breaker.state == "half open" and breaker.is_passable
    breaker.begin()
    assert not breaker.is_passable
    breaker.succeed()
    assert breaker.state == "closed"


def test_the_first_token_of_the_trial_lets_others_pass_and_a_failure_opens_it_again() -> None:
    clock = Clock()
    breaker = half_opened(clock)
    breaker.begin()
    breaker.first_token()
    assert breaker.state == "closed" and breaker.is_passable
    assert breaker.fail()
    clock.now = 10.0
    assert breaker.state == "open"
    clock.now = 15.0
    breaker.begin()
    breaker.first_token()
    breaker.succeed()
    assert not breaker.fail()


def test_a_first_token_that_was_asked_for_before_it_opened_does_not_close_it() -> None:
    breaker = opened(Clock())
    breaker.first_token()
    assert breaker.state == "open"


def test_each_opening_lasts_twice_as_long_up_to_a_limit() -> None:
    clock = Clock()
    breaker = opened(clock)
    durations = []
    for _ in range(8):
        begin = clock.now
        while breaker.state == "open":
            clock.now += 5.0
        durations.append(clock.now - begin)
        breaker.begin()
        assert breaker.fail()
    assert durations == [5, 10, 20, 40, 80, 160, MAX_OPEN_SECONDS, MAX_OPEN_SECONDS]


def test_a_try_whose_client_left_says_nothing() -> None:
    breaker = half_opened(Clock())
    breaker.begin()
    breaker.forget()
    assert breaker.is_passable and breaker.state == "half open"


def test_an_endpoint_may_fail_for_weeks() -> None:
    clock = Clock()
    breaker = opened(clock)
    for _ in range(3000):
        clock.now += MAX_OPEN_SECONDS
        assert breaker.is_passable
        breaker.begin()
        assert breaker.fail()
    assert breaker.state == "open"
