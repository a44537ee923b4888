import pytest

from octavo.core.request import Request
from octavo.core.sampling_params import SamplingParams
from octavo.scheduler.step_budget import EXCESS, FIXED_TIMES, STRETCH, TARGET_MARGIN, StepBudget
from octavo.scheduler.step_time import StepCost, StepTimeModel

MODEL = StepTimeModel(StepCost())  # 0.4 ms per token
ONLY_FULL_STEPS_PAY = StepTimeModel(StepCost(per_step=1.0))


def budget(*, num_decodes=0, num_waiting=1, max_tokens=512, target=0.1, ttft=None, model=None):
    result = StepBudget(
        model or (MODEL if num_decodes else ONLY_FULL_STEPS_PAY),
        max_num_batched_tokens=max_tokens,
        target_itl_seconds=target,
        target_ttft_seconds=ttft,
    )
    result.open(num_decodes, num_decodes * 100, num_waiting)
    return result


def prefill(num_remaining, *, num_computed=0, priority=0):
    tokens = [0] * (num_computed + num_remaining)
    r = Request("a", tokens, len(tokens), SamplingParams(), 0, 0.0, 10_000, priority=priority)
    r.num_computed_tokens = num_computed
    return r


def shares(sizes, is_oldest_turn=True, **options):
    return budget(**options).share([prefill(n) for n in sizes], is_oldest_turn=is_oldest_turn)


def test_alone_a_prompt_gets_the_whole_step():
    assert shares([2000]) == [512]
    assert shares([100]) == [100]


def test_a_short_prompt_does_not_wait_behind_a_long_one():
    assert shares([8000, 40]) == [464, 40]
    assert shares([8000, 8000, 40]) == [464, 0, 40]


def test_a_long_prompt_is_not_starved_by_short_ones():
    assert shares([8000, 200, 200, 200]) == [256, 200, 48, 0]


def test_of_equal_prompts_the_oldest_comes_first():
    assert shares([400, 400, 400]) == [400, 112, 0]


def test_priority_comes_before_length():
    prefills = [prefill(1000, priority=0), prefill(20, priority=1)]
    assert budget().share(prefills, is_oldest_turn=True) == [512, 0]


def test_while_others_decode_a_step_stays_within_its_time():
    opened = budget(num_decodes=20)
    (granted,) = opened.share([prefill(2000)], is_oldest_turn=True)
    assert 100 < granted < 250
    assert granted % 16 == 0
    step_seconds = MODEL.predict(20 + granted, 2000 + granted * (granted + 1) // 2, 21)
    assert step_seconds <= TARGET_MARGIN * 0.1
    assert step_seconds + MODEL.chunk_seconds(16, granted) > TARGET_MARGIN * 0.1


@pytest.mark.parametrize("sizes", [[2000], [2000, 2000], [2000, 700, 900]])
@pytest.mark.parametrize("is_oldest_turn", [True, False])
@pytest.mark.parametrize("num_waiting", [1.5, 2, 9])
def test_ending_on_blocks_costs_a_fourth_of_a_step_at_most(sizes, is_oldest_turn, num_waiting):
    """One for 30 tokens computes them: not 16, and 16 in the next one, too."""
    opened = budget(num_decodes=2, num_waiting=num_waiting, target=None)
    longest = opened.affordable_tokens(0)
    granted = sum(opened.share([prefill(size) for size in sizes], is_oldest_turn=is_oldest_turn))
    assert 0.74 * longest <= granted <= longest


def test_deep_in_a_sequence_chunks_are_smaller():
    (early,) = budget(num_decodes=20).share([prefill(5000)], is_oldest_turn=True)
    (late,) = budget(num_decodes=20).share([prefill(5000, num_computed=16_000)], is_oldest_turn=True)
    assert 16 <= late < early


@pytest.mark.parametrize("is_oldest_turn", [True, False])
def test_at_any_load_one_block_is_computed_and_the_oldest_and_the_shortest_take_turns(is_oldest_turn):
    granted = shares([800, 300], is_oldest_turn, num_decodes=100, target=0.001)
    assert granted == ([16, 0] if is_oldest_turn else [0, 16])


def test_chunks_end_on_block_boundaries():
    assert budget(max_tokens=100).share([prefill(200, num_computed=5)], is_oldest_turn=True) == [91]
    assert budget(max_tokens=100).share([prefill(100)], is_oldest_turn=True) == [100]


def test_a_chunk_ends_elsewhere_rather_than_lose_half_of_its_tokens():
    opened = budget(max_tokens=13).share([prefill(200)], is_oldest_turn=True)
    assert opened == [13]
    assert budget(max_tokens=13).share([prefill(200, num_computed=13)], is_oldest_turn=True) == [13]
    assert budget(max_tokens=13).share([prefill(200, num_computed=5)], is_oldest_turn=True) == [11]


def test_fewer_tokens_than_a_block_are_used_all_the_same():
    assert shares([200], num_decodes=95, max_tokens=100, target=10) == [5]


def test_never_more_than_the_tokens_of_a_step():
    for num_decodes in (0, 1, 17, 63):
        granted = shares([1000, 3, 70, 16], num_decodes=num_decodes, max_tokens=64, target=10)
        assert 0 < sum(granted) <= 64 - num_decodes


def test_without_a_target_a_step_takes_a_few_times_what_its_decodes_do():
    opened = budget(num_decodes=20, target=None)
    decodes = MODEL.predict(20, 2000, 20)
    (granted,) = opened.share([prefill(2000)], is_oldest_turn=True)
    added = MODEL.chunk_seconds(granted, 0)
    assert added <= STRETCH * decodes < added + MODEL.chunk_seconds(16, granted)


def test_without_a_target_it_takes_the_longer_the_more_wait_for_each_who_decodes():
    decodes = MODEL.predict(40, 4000, 40)
    seconds = []
    for num_waiting in (1, 40, 80, 120):
        opened = budget(num_decodes=40, num_waiting=num_waiting, target=None)
        (granted,) = opened.share([prefill(2000)], is_oldest_turn=True)
        seconds.append(MODEL.chunk_seconds(granted, 0) / (STRETCH * decodes))
    assert seconds[0] == seconds[1] and seconds == pytest.approx([1, 1, 2, 3], abs=0.25)


@pytest.mark.parametrize("per_step", [2e-3, 5e-3, 2e-2])
def test_a_step_has_just_enough_tokens_of_prompts_to_be_efficient(per_step):
    model = StepTimeModel(StepCost(per_step=per_step, per_context_token=1e-12))
    for num_decodes in (0, 4):
        (granted,) = shares([2000], num_decodes=num_decodes, target=10.0, model=model)
        limit = (1 + EXCESS) * model.predict(512, 0, 1) / 512
        assert model.predict(granted, 0, 1) / granted <= limit
        assert model.predict(granted - 16, 0, 1) / (granted - 16) > limit


def test_of_a_model_that_takes_steps_to_cost_nothing_an_eighth_of_the_largest_step_is_believed():
    assert shares([2000], model=StepTimeModel(StepCost(per_step=1e-9, per_request=1e-9))) == [64]


@pytest.mark.parametrize("num_waiting", [1, 2, 4, 8])
def test_while_few_decode_a_step_may_be_some_times_what_every_step_costs(num_waiting):
    """Up to as many times as soon as as many wait as decode."""
    model = StepTimeModel(StepCost(per_step=1e-2, per_token=2e-4))
    (granted,) = shares([2000], num_decodes=4, num_waiting=num_waiting, target=None, model=model)
    stretched = STRETCH * model.predict(4, 400, 4)
    seconds = max(stretched * max(1.0, num_waiting / 4), FIXED_TIMES * 1e-2 * min(1.0, num_waiting / 4))
    assert seconds > stretched or num_waiting == 1
    assert model.chunk_seconds(granted, 0) <= seconds < model.chunk_seconds(granted + 16, 0)


def test_a_request_is_let_in_while_all_can_decode_in_time():
    running = [prefill(100) for _ in range(20)]
    limit = MODEL.predict(21, 2100, 21) / TARGET_MARGIN
    for target, is_let_in in ((0.999 * limit, False), (1.001 * limit, True), (None, True)):
        opened = budget(num_decodes=20, target=target)
        assert opened.has_time_for(prefill(100), running) is is_let_in
    assert budget(target=1e-6).has_time_for(prefill(100), [])


@pytest.mark.parametrize("seconds_left", [4.0, 1.0, 0.3, -1.0])
def test_a_prompt_gets_of_a_step_what_its_first_token_needs_to_be_in_time(seconds_left):
    opened = budget(num_decodes=20, target=0.05, ttft=5.0)
    request = prefill(1000)
    opened.keep_pace([request], now=TARGET_MARGIN * 5.0 - seconds_left)
    (granted,) = opened.share([request], is_oldest_turn=True)
    at_full_speed = budget(num_decodes=20, target=0.05).share([request], is_oldest_turn=True)
    if MODEL.chunk_seconds(1000, 0) >= seconds_left:
        assert [granted] == at_full_speed
        return
    needed = MODEL.chunk_seconds(1000, 0) / seconds_left
    step = MODEL.predict(20, 2000, 20) + MODEL.chunk_seconds(granted, 0)
    assert [granted] <= at_full_speed
    assert MODEL.chunk_seconds(max(granted - 16, 0), 0) <= needed * step or [granted] == at_full_speed
    assert granted == 16 or MODEL.chunk_seconds(granted, 0) / step <= needed
