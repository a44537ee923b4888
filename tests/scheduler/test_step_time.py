import random

import pytest

from octavo.scheduler.step_time import StepCost, StepTimeModel

STEPS = [(64, 40_000, 64), (512, 60_000, 1), (16, 400, 16), (300, 90_000, 40), (1, 1000, 1), (128, 9_000, 3)]


def seconds(cost, num_tokens, num_context_tokens, num_requests):
    return (
        cost.per_step
        + cost.per_token * num_tokens
        + cost.per_context_token * num_context_tokens
        + cost.per_request * num_requests
    )


def observe(model, cost, count, *, noise=0.0, seed=0):
    rng = random.Random(seed)
    for _ in range(count):
        n = rng.randrange(1, 512)
        step = (n, n * rng.randrange(1, 2000), rng.randrange(1, n + 1))
        model.observe(*step, seconds(cost, *step) * (1 + noise * rng.uniform(-1, 1)))


def errors(model, cost):
    return [abs(model.predict(*step) / seconds(cost, *step) - 1) for step in STEPS]


def test_it_starts_from_the_given_cost():
    assert max(errors(StepTimeModel(StepCost()), StepCost())) < 1e-12


@pytest.mark.parametrize("factor", [0.1, 0.5, 3, 10])
def test_it_learns_another_machine(factor):
    cost = StepCost(2e-3 * factor, 1e-3 * factor, 3e-7 * factor, 2e-5 * factor)
    model = StepTimeModel(StepCost())
    observe(model, cost, 300, noise=0.05)
    assert max(errors(model, cost)) < 0.1


def test_it_follows_a_machine_that_slows_down():
    model = StepTimeModel(StepCost())
    observe(model, StepCost(), 500, noise=0.05)
    slow = StepCost(6e-3, 12e-4, 3e-7, 3e-5)
    observe(model, slow, 500, noise=0.05, seed=1)
    assert max(errors(model, slow)) < 0.15


def test_a_single_hiccup_hardly_matters():
    model = StepTimeModel(StepCost())
    observe(model, StepCost(), 300, noise=0.05)
    model.observe(64, 30_000, 64, 20.0)
    assert max(errors(model, StepCost())) < 0.15


def test_it_never_predicts_negative_times():
    model = StepTimeModel(StepCost())
    for n in range(1, 300):
        model.observe(n, 10 * n, n, 0.2 / n)  # longer steps take less time
    assert all(model.predict(*step) >= 0 for step in STEPS)
    assert model.chunk_seconds(100, 1000) >= 0


def test_the_same_step_again_and_again_does_not_unlearn_the_others():
    """Only decodes for long: their share of tokens and requests cannot be told apart, and must stay sane."""
    model = StepTimeModel(StepCost())
    observe(model, StepCost(), 300)
    for _ in range(5000):
        model.observe(64, 30_000, 64, seconds(StepCost(), 64, 30_000, 64))
    assert max(errors(model, StepCost())) < 0.05


def test_steps_of_few_requests_do_not_blur_what_prompts_cost():
    """Tokens, contexts and requests grow together in them: noise must not decide which takes the time."""
    model = StepTimeModel(StepCost())
    observe(model, StepCost(), 300, noise=0.05)
    rng = random.Random(1)
    for _ in range(3000):
        count = rng.randrange(1, 5)
        step = (count, count * rng.randrange(1000, 1200), count)
        model.observe(*step, seconds(StepCost(), *step) * rng.gauss(1, 0.1))
        assert max(errors(model, StepCost())) < 0.25


@pytest.mark.parametrize("num_computed", [0, 100, 30_000])
@pytest.mark.parametrize("num_tokens", [1, 16, 500, 5000])
def test_chunk_tokens_inverts_chunk_seconds(num_tokens, num_computed):
    model = StepTimeModel(StepCost())
    time = model.chunk_seconds(num_tokens, num_computed)
    assert model.chunk_tokens(time * (1 + 1e-9), num_computed) == num_tokens
    assert model.chunk_tokens(time * (1 - 1e-6), num_computed) == num_tokens - 1


def test_a_chunk_adds_what_the_step_with_it_takes_more():
    model = StepTimeModel(StepCost())
    with_chunk = model.predict(10 + 3, 500 + 101 + 102 + 103, 5 + 1)
    assert with_chunk == pytest.approx(model.predict(10, 500, 5) + model.chunk_seconds(3, 100))


def test_no_time_is_no_tokens():
    assert StepTimeModel(StepCost()).chunk_tokens(0.0, 0) == 0
    assert StepTimeModel(StepCost()).chunk_tokens(-1.0, 0) == 0


def test_it_remembers_what_it_had_predicted():
    model = StepTimeModel(StepCost())
    before = model.predict(64, 9000, 3)
    model.observe(64, 9000, 3, 5.0)
    assert model.last_prediction == pytest.approx(before) != model.predict(64, 9000, 3)


def test_a_step_is_efficient_when_its_time_per_token_is_near_that_of_the_largest():
    model = StepTimeModel(StepCost(4e-3, 4e-4, 1e-7, 1e-5))

    def seconds_per_token(count):
        return model.predict(count, 0, 1) / count

    for excess in (0.01, 0.05, 0.2):
        count = model.efficient_tokens(512, excess)
        limit = (1 + excess) * seconds_per_token(512)
        assert seconds_per_token(count) <= limit < seconds_per_token(count - 1)
    assert model.efficient_tokens(512, 0.0) == 512


def test_where_steps_cost_nothing_beside_their_tokens_any_is_efficient():
    model = StepTimeModel(StepCost())
    assert model.efficient_tokens(512, 0.02) > 100
    observe(model, StepCost(1e-9, 1e-3, 1e-9, 1e-9), 300)
    assert model.efficient_tokens(512, 0.02) <= 16
