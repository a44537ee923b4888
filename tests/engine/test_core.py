import pytest

from octavo.core.grammar_spec import GrammarKind, GrammarSpec, ReasoningBudget
from octavo.core.request import FinishReason
from octavo.core.sampling_params import SamplingParams
from tests.fakes_engine import SimEngine

PROMPT = list(range(40))


def refused(engine, request_id):
    engine.run()
    output = engine.last[request_id]
    assert output.finish_reason is FinishReason.ERROR
    assert output.token_ids == []
    return output.error


def test_it_generates_and_then_has_no_work():
    engine = SimEngine()
    assert not engine.core.has_work
    request_id = engine.add(PROMPT, max_tokens=5)
    assert engine.core.has_work
    engine.run()
    engine.check_complete(request_id)
    assert not engine.core.has_work


def test_without_work_a_step_is_nothing():
    engine = SimEngine()
    assert engine.step() == []
    assert engine.backend.steps == []


def test_times_are_taken_at_first_schedule_and_first_token():
    engine = SimEngine(max_num_seqs=1)
    first = engine.add(PROMPT, max_tokens=3)
    second = engine.add(PROMPT[:7] + [9] * 93, max_tokens=2)
    start = engine.clock.now()
    engine.run_until_token(first, 3)
    scheduled = engine.clock.now()
    engine.run_until_token(second, 1)
    output = engine.last[second]
    assert output.queue_seconds == pytest.approx(scheduled - start)
    assert output.prefill_seconds == pytest.approx(engine.clock.now() - scheduled)
    engine.run()
    assert engine.last[second].prefill_seconds == output.prefill_seconds
    assert engine.last[first].queue_seconds == 0


def test_a_resubmitted_request_continues_where_it_was():
    engine = SimEngine()
    done = engine.add(PROMPT, seed=5, max_tokens=30)
    engine.run()
    for count in (1, 17, 29):
        again = engine.add(PROMPT, seed=5, output=engine.tokens[done][:count], max_tokens=30)
        engine.run()
        assert engine.tokens[again] == engine.tokens[done]
        assert engine.last[again].finish_reason is FinishReason.LENGTH


def test_a_resubmitted_request_that_was_complete_ends_at_once():
    engine = SimEngine()
    request_id = engine.add(PROMPT, output=[1, 2, 3], max_tokens=3)
    outputs = engine.step()
    assert [output.finish_reason for output in outputs] == [FinishReason.LENGTH]
    assert engine.tokens[request_id] == [1, 2, 3]
    assert engine.backend.steps == []


def test_the_context_bounds_the_answer():
    engine = SimEngine(max_model_len=50)
    request_id = engine.add(PROMPT, max_tokens=None)
    engine.run()
    assert engine.last[request_id].finish_reason is FinishReason.LENGTH
    assert len(engine.tokens[request_id]) == 10


def test_a_grammar_without_a_compiler_is_refused():
    engine = SimEngine()
    request_id = engine.add(PROMPT, grammar=GrammarSpec(GrammarKind.REGEX, "a+"))
    assert refused(engine, request_id) == "This engine has no grammars."
    assert engine.last[request_id].error_code == "invalid_value"


def test_end_of_turn_ends_the_answer_unless_it_is_ignored():
    probe = SimEngine()
    request_id = probe.add(PROMPT, seed=3, max_tokens=10)
    probe.run()
    end_id = probe.tokens[request_id][4]
    engine = SimEngine(eos_token_ids=frozenset({end_id}))
    ends = engine.add(PROMPT, seed=3, max_tokens=10)
    ignores = engine.add(PROMPT, seed=3, sampling=SamplingParams(max_tokens=10, ignore_eos=True))
    engine.run()
    assert engine.last[ends].finish_reason is FinishReason.STOP
    assert len(engine.tokens[ends]) == 5
    assert len(engine.tokens[ignores]) == 10


def test_a_second_request_with_a_live_id_is_refused_and_the_first_goes_on():
    engine = SimEngine()
    engine.add(PROMPT, request_id="a", seed=1, max_tokens=5)
    engine.add(PROMPT, request_id="a", seed=1, max_tokens=5)
    (refusal,) = [output for output in engine.step() if output.error]
    assert "running already" in refusal.error
    engine.run()
    engine.check_complete("a")


def test_an_ended_id_can_come_again():
    engine = SimEngine()
    for _ in range(2):
        engine.add(PROMPT, request_id="a", seed=1, max_tokens=5)
        engine.run()
        engine.check_complete("a")


@pytest.mark.parametrize("token_ids", [[1, -1], [1, 1000]])
def test_a_token_outside_the_vocabulary_is_refused(token_ids):
    engine = SimEngine()
    assert "token_ids has an id outside the vocabulary" in refused(engine, engine.add(token_ids))


def test_a_stop_token_outside_the_vocabulary_is_refused():
    engine = SimEngine()
    sampling = SamplingParams(max_tokens=1, stop_token_ids=(1000,))
    assert "stop_token_ids" in refused(engine, engine.add(PROMPT, sampling=sampling))


def test_a_budget_that_would_force_what_the_model_cannot_say_is_refused():
    engine = SimEngine()
    budget = ReasoningBudget(1, "<think>", "</think>", (5, 1000), is_open=True)
    grammar = GrammarSpec(GrammarKind.ANYTHING, budget=budget)
    assert "the end of reasoning has an id outside" in refused(engine, engine.add(PROMPT, grammar=grammar))


def test_an_empty_prompt_is_refused():
    engine = SimEngine()
    assert "num_prompt_tokens is 0" in refused(engine, engine.add([]))


def test_a_prompt_as_long_as_the_context_is_refused():
    engine = SimEngine(max_model_len=40)
    assert "less than 40" in refused(engine, engine.add(PROMPT))
    fits = engine.add(PROMPT[:39])
    engine.run()
    engine.check_complete(fits)


def test_branches_of_one_request_differ():
    engine = SimEngine()
    ids = [engine.add(PROMPT, seed=1, branch=branch, max_tokens=8) for branch in range(3)]
    engine.run()
    for request_id in ids:
        engine.check_complete(request_id)
    assert len({tuple(engine.tokens[request_id]) for request_id in ids}) == 3


def test_the_journal_names_a_step_before_it_runs_and_who_is_new_in_it():
    engine = SimEngine(max_num_batched_tokens=32)
    a = engine.add(PROMPT, max_tokens=4)
    for _ in range(3):
        engine.step()
    b = engine.add([7, 8, 9], max_tokens=2)
    engine.run()
    assert engine.journal.steps == [
        (0, [a], [a]),  # first chunk
        (1, [a], []),
        (2, [a], [a]),  # first decode
        (3, [a, b], [b]),
        (4, [a, b], [b]),
    ]


def test_the_journal_is_written_even_when_the_back_end_dies():
    engine = SimEngine()
    request_id = engine.add(PROMPT)

    def die(step):
        raise RuntimeError("the back end died")

    engine.backend.submit = die
    with pytest.raises(RuntimeError):
        engine.step()
    assert engine.journal.steps == [(0, [request_id], [request_id])]


def test_without_prefix_caching_nothing_is_shared():
    engine = SimEngine(enable_prefix_caching=False)
    for _ in range(2):
        request_id = engine.add(PROMPT)
        engine.run()
        assert engine.last[request_id].num_cached_tokens == 0
    assert engine.stats.prefix_cache_queries == 0


def test_abort_yields_no_output():
    engine = SimEngine()
    request_id = engine.add(PROMPT, max_tokens=50)
    engine.step()
    engine.abort([request_id])
    assert engine.step() == []
    assert not engine.core.has_work


def test_the_last_step_is_reported_with_what_was_predicted():
    engine = SimEngine()
    assert engine.core.last_step is None
    engine.add(PROMPT, max_tokens=2)
    predicted = engine.scheduler.step_time.predict(40, 40 * 41 // 2, 1)
    engine.step()
    report = engine.core.last_step
    assert (report.num_tokens, report.num_context_tokens, report.num_requests) == (40, 820, 1)
    assert report.predicted_seconds == pytest.approx(predicted)
    assert report.seconds == pytest.approx(engine.clock.now() - 100.0)
    assert report.phase_seconds is None  # the sim back end has no phases
