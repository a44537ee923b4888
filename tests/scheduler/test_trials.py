"""Trials by themselves, and suspects among other requests through the whole engine."""

from octavo.core.request import Request
from octavo.core.sampling_params import SamplingParams
from octavo.scheduler.trials import Trials
from tests.fakes_engine import SimEngine
from tests.fakes_engine import random_prompt as prompt


def suspect(request_id: str, arrival: float = 0.0) -> Request:
    return Request(request_id, [1], 1, SamplingParams(), 0, arrival, 100, is_suspect=True)


def test_one_at_a_time_is_let_in() -> None:
    trials = Trials()
    later, first = suspect("later", 2.0), suspect("first", 1.0)
    trials.push(later)
    trials.push(first)
    assert trials.next() is first
    assert trials.begin() is first
    assert trials.next() is None and len(trials) == 1
    trials.acquit(first)
    assert not first.is_suspect
    assert trials.next() is later


def test_one_that_stops_running_makes_room_for_the_next_and_others_that_stop_do_not() -> None:
    trials = Trials()
    first, second = suspect("first", 1.0), suspect("second", 2.0)
    trials.push(first)
    trials.push(second)
    trials.begin()
    trials.end(second)
    assert trials.next() is None
    trials.end(first)
    assert trials.next() is second and first.is_suspect


def test_who_is_removed_is_not_tried() -> None:
    trials = Trials()
    trials.push(suspect("a"))
    assert not trials.remove(suspect("b"))
    assert trials.remove(suspect("a"))
    assert trials.next() is None and len(trials) == 0


def test_a_suspect_shares_no_step_until_it_has_a_token() -> None:
    engine = SimEngine(max_num_batched_tokens=64)
    others = [engine.add(prompt(30, i), max_tokens=30) for i in range(3)]
    engine.step()
    suspects = [engine.add(prompt(150, 10 + i), is_suspect=True, max_tokens=5) for i in range(2)]
    suspected = set(suspects)
    while engine.core.has_work:
        outputs = engine.step()
        in_step = set(engine.journal.steps[-1][1])
        if in_step & suspected:
            assert len(in_step) == 1
        suspected -= {output.request_id for output in outputs}
    for request_id in others + suspects:
        engine.check_complete(request_id)


def test_others_go_on_while_a_suspect_is_computed() -> None:
    engine = SimEngine(max_num_batched_tokens=64)
    other = engine.add(prompt(30), max_tokens=30)
    engine.step()
    engine.add(prompt(640, 1), is_suspect=True)
    for _ in range(10):
        engine.step()
    assert len(engine.tokens[other]) == 6


def test_a_suspect_gets_room_even_when_others_keep_coming() -> None:
    engine = SimEngine(num_blocks=20, max_num_seqs=8)
    for i in range(4):
        engine.add(prompt(60, i), max_tokens=20)
    engine.step()
    suspect = engine.add(prompt(200, 50), is_suspect=True)
    for i in range(200):
        engine.add(prompt(60, 100 + i), max_tokens=20)
        engine.step()
    engine.check_complete(suspect)
