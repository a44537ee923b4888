"""Whom a step guesses ahead for, and that it changes nothing else."""

import pytest

from octavo.core.drafting import Drafting
from octavo.core.request import FinishReason, Request
from octavo.core.sampling_params import SamplingParams
from octavo.scheduler.speculation import Speculation
from octavo.scheduler.step_time import StepCost, StepTimeModel
from tests.fakes_engine import SimEngine, random_prompt


class Counting:
    def propose(self, token_ids: list[int], most: int) -> list[int]:
        return [token_ids[-1] + 1 + i for i in range(most)]


def request(num_tokens: int = 33, *, chance: float | None = 0.8, max_total_tokens: int = 1000) -> Request:
    tokens = list(range(num_tokens))
    drafting = None if chance is None else Drafting(Counting(), chance, 1 - chance)
    made = Request(str(num_tokens), tokens, num_tokens, SamplingParams(), 0, 0.0, max_total_tokens)
    made.drafting = drafting
    return made


def num_drafts(
    *requests: Request,
    row: float = 1e-4,
    fixed: float = 1e-2,
    most: int = 100,
    seconds: float | None = None,
    max_drafts: int = 15,
) -> list[int]:
    model = StepTimeModel(StepCost(fixed, row / 2, 1e-12, row / 2))
    Speculation(model, max_drafts).draft(list(requests), 33 * len(requests), most, seconds)
    return [len(one.drafts) for one in requests]


def test_drafts_are_the_drafters() -> None:
    guessing = request()
    assert num_drafts(guessing, max_drafts=3) == [3]
    assert guessing.drafts == [33, 34, 35]


@pytest.mark.parametrize(("chance", "fewest", "most"), [(0.95, 15, 15), (0.5, 4, 8), (0.01, 0, 1)])
def test_the_likelier_the_more(chance: float, fewest: int, most: int) -> None:
    assert fewest <= num_drafts(request(chance=chance))[0] <= most


def test_the_dearer_a_row_the_fewer() -> None:
    counts = [num_drafts(request(chance=0.8), row=row)[0] for row in (1e-4, 1e-3, 5e-3, 3e-2, 1.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-2] and counts[-1] == 0


def test_a_draft_that_hardly_pays_is_not_computed() -> None:
    """A row adds half to a step: a draft of chance 1/3 would leave the tokens a second as they are."""
    assert num_drafts(request(chance=0.38), row=5e-3) == [0]
    assert num_drafts(request(chance=0.45), row=5e-3) == [1]


def test_the_more_requests_the_fewer_for_each() -> None:
    alone = num_drafts(request(), row=2e-3)
    beside = num_drafts(*[request(33 + 16 * i) for i in range(20)], row=2e-3)
    assert alone[0] > max(beside)


def test_rows_go_to_the_likely_first() -> None:
    assert num_drafts(request(chance=0.6), request(49, chance=0.99), most=12) == [0, 12]


def test_who_has_no_drafter_gets_none() -> None:
    assert num_drafts(request(chance=None), request(49, chance=0.99)) == [0, 15]


def test_neither_a_block_nor_a_token_too_many() -> None:
    assert num_drafts(request(32, chance=0.99)) == [0]
    assert num_drafts(request(45, chance=0.99)) == [3]
    assert num_drafts(request(33, chance=0.99, max_total_tokens=36)) == [2]
    assert num_drafts(request(33, chance=0.99, max_total_tokens=34)) == [0]


def test_a_step_stays_within_its_target() -> None:
    assert num_drafts(request(chance=0.99), seconds=10.45e-3) == [3]


def test_zero_switches_it_off() -> None:
    assert num_drafts(request(chance=0.99), max_drafts=0) == [0]


# In the engine


def run(engine: SimEngine, **changes: object) -> list[str]:
    ids = [
        engine.add(random_prompt(20 + 5 * i, i), max_tokens=60, seed=i, **changes)  # type: ignore[arg-type]
        for i in range(3)
    ]
    engine.run()
    return ids


def test_answers_are_the_same_in_fewer_steps() -> None:
    plain, guessing = SimEngine(), SimEngine(guesses_ahead=True)
    for engine in (plain, guessing):
        for request_id in run(engine):
            engine.check_complete(request_id)
    assert guessing.stats.num_steps < plain.stats.num_steps / 2
    assert 0 < guessing.stats.num_accepted_tokens < guessing.stats.num_draft_tokens
    assert guessing.stats.num_generation_tokens == plain.stats.num_generation_tokens


def test_an_answer_ends_at_its_stop_token_whatever_was_guessed_beyond() -> None:
    plain = SimEngine()
    first = run(plain)[0]
    stop = plain.tokens[first][29]
    guessing = SimEngine(guesses_ahead=True, eos_token_ids=frozenset([stop]))
    run(guessing)
    assert guessing.tokens[first] == plain.tokens[first][:30]
    assert guessing.last[first].finish_reason is FinishReason.STOP
    assert guessing.kv.pool.num_used == 0


def test_a_row_of_a_draft_that_cannot_be_sampled_fails_when_it_is_its_turn() -> None:
    """Not before: the tokens up to it are right."""
    plain = SimEngine()
    first = run(plain)[0]
    guessing = SimEngine(guesses_ahead=True)
    guessing.backend.no_token_from = {0: 50}
    run(guessing)
    assert guessing.last[first].finish_reason is FinishReason.ERROR
    assert guessing.tokens[first] == plain.tokens[first][: 50 - 20]


def test_blocks_of_wrong_guesses_are_not_found_by_others() -> None:
    """The sim back end reads what a block holds before it is used."""
    engine = SimEngine(guesses_ahead=True)
    request_id = engine.add(random_prompt(20), max_tokens=60, seed=1)
    engine.run()
    more = engine.add([*random_prompt(20), *engine.tokens[request_id], 1, 2, 3], max_tokens=5)
    engine.run()
    engine.check_complete(more)
    assert engine.last[more].num_cached_tokens >= 64
