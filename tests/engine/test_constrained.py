"""Requests with grammars in a whole engine on the sim back end: the same tokens whatever happens to them."""

import dataclasses
import json
import threading
from typing import Any

import pytest

from octavo.core.errors import InvalidRequestError
from octavo.core.grammar_spec import GrammarKind, GrammarSpec, Reasoning, ReasoningBudget
from octavo.core.messages import OVERLOADED
from octavo.core.request import FinishReason
from octavo.core.sampling_params import SamplingParams
from octavo.engine.compiling import MAX_THREADS, QUEUE_SECONDS, Grammar, NoGrammars
from tests.decoding.byte_grammars import COMPILER, END_ID, new_compiler, spell
from tests.fakes_engine import SimEngine

PROMPT = list(range(40))
LIST = GrammarSpec(
    GrammarKind.JSON_SCHEMA,
    json.dumps({"type": "array", "items": {"enum": ["ab", "x", None, True]}, "minItems": 8, "maxItems": 12}),
)
TEXT = GrammarSpec(GrammarKind.REGEX, "[a-z ]{60,90}")
GRAMMARS = (LIST, TEXT, None)


def new_engine(**options: Any) -> SimEngine:
    return SimEngine(eos_token_ids=frozenset((END_ID,)), grammars=COMPILER, **options)


def ask(engine: SimEngine, number: int, **fields: Any) -> str:
    fields = {"sampling": SamplingParams(max_tokens=120), "seed": number, **fields}
    return engine.add([*PROMPT, number], grammar=GRAMMARS[number % len(GRAMMARS)], **fields)


def answers(engine: SimEngine, ids: list[str]) -> list[tuple[list[int], object]]:
    engine.run()
    return [(engine.tokens[request_id], engine.last[request_id].finish_reason) for request_id in ids]


def alone(number: int, **fields: Any) -> tuple[list[int], object]:
    engine = new_engine()
    return answers(engine, [ask(engine, number, **fields)])[0]


def text_of(tokens: list[int]) -> str:
    return spell(tokens).removesuffix(b"<|im_end|>").decode()


def test_an_answer_follows_its_grammar_and_stops_at_its_end() -> None:
    tokens, reason = alone(0)
    assert reason is FinishReason.STOP
    assert 8 <= len(json.loads(text_of(tokens))) <= 12
    assert END_ID not in tokens  # nothing may follow the closing bracket: no token is spent on saying so


def test_where_more_may_follow_the_end_of_turn_token_ends_it() -> None:
    ends = [alone(number) for number in (1, 4, 7, 10, 13)]
    assert all(60 <= len(text_of(tokens)) <= 90 for tokens, _ in ends)
    assert {reason for _, reason in ends} == {FinishReason.STOP}


def test_company_changes_no_token() -> None:
    engine = new_engine()
    ids = [ask(engine, number) for number in range(12)]
    assert answers(engine, ids) == [alone(number) for number in range(12)]


def test_preemption_changes_no_token() -> None:
    engine = new_engine(num_blocks=24, num_checkpoint_blocks=4)
    ids = [ask(engine, number) for number in range(9)]
    assert answers(engine, ids) == [alone(number) for number in range(9)]
    assert engine.stats.num_preemptions > 0


@pytest.mark.parametrize("number", [0, 1])
def test_a_crash_after_any_token_changes_none(number: int) -> None:
    tokens, reason = alone(number)
    for count in (1, 2, len(tokens) // 2, len(tokens) - 1, len(tokens)):
        engine = SimEngine(eos_token_ids=frozenset((END_ID,)), grammars=new_compiler())
        request_id = ask(engine, number, output=tokens[:count])
        assert answers(engine, [request_id]) == [(tokens, reason)]


def test_choices_have_their_own_places_in_the_grammar() -> None:
    engine = new_engine()
    first = ask(engine, 0)
    ids = [first, *(ask(engine, 0, branch=branch, fork_of=first) for branch in (1, 2))]
    together = answers(engine, ids)
    assert together == [alone(0, branch=branch) for branch in range(3)]
    assert len({tuple(tokens) for tokens, _ in together}) == 3


def test_reasoning_ends_where_its_budget_does_whatever_happens() -> None:
    """With a grammar behind it and without: in company, after preemptions, after a crash at any token."""
    budget = ReasoningBudget(25, "<think>", "</think>", tuple(b"</think>"), is_open=True)
    behind = dataclasses.replace(LIST, reasoning=Reasoning("</think>"), budget=budget)
    specs = (behind, GrammarSpec(GrammarKind.ANYTHING, budget=budget))

    def new(**options: Any) -> SimEngine:
        return SimEngine(grammars=COMPILER, **options)

    def add(engine: SimEngine, number: int, **fields: Any) -> str:
        sampling = SamplingParams(max_tokens=100)
        return engine.add(
            [*PROMPT, number], grammar=specs[number % 2], sampling=sampling, seed=number, **fields
        )

    def bytes_at(tokens: list[int], begin: int) -> bytes:
        return bytes(token for token in tokens[begin : begin + 8] if token < 256)

    expected = []
    for number in range(8):
        engine = new()
        expected += answers(engine, [add(engine, number)])
        tokens = expected[-1][0]
        end = next(end for end in range(25, 100) if bytes_at(tokens, end) == b"</think>")
        assert end < 60 and len(tokens) > end + 8
        for count in (1, end - 1, end, end + 1, end + 7, end + 8):
            engine = new()
            assert answers(engine, [add(engine, number, output=tokens[:count])]) == expected[-1:]
    for options in ({}, {"num_blocks": 24, "num_checkpoint_blocks": 4}):
        engine = new(**options)
        assert answers(engine, [add(engine, number) for number in range(8)]) == expected
    assert engine.stats.num_preemptions > 0


def test_before_min_tokens_an_answer_that_may_go_on_does() -> None:
    lengths = {0: [], 55: []}
    for seed in range(5):
        for min_tokens in lengths:
            sampling = SamplingParams(max_tokens=120, min_tokens=min_tokens)
            tokens, reason = alone(1, sampling=sampling, seed=seed)
            lengths[min_tokens].append(len(tokens))
            assert reason is FinishReason.STOP
    assert min(lengths[0]) < 55 <= min(lengths[55])
    tokens, reason = alone(0, sampling=SamplingParams(max_tokens=120, min_tokens=119))
    assert reason is FinishReason.STOP and len(tokens) < 119  # there is nothing to go on with


def test_whoever_ignores_the_end_gets_all_that_the_grammar_allows() -> None:
    tokens, reason = alone(1, sampling=SamplingParams(max_tokens=120, ignore_eos=True))
    assert len(text_of(tokens)) == 90 and END_ID not in tokens and reason is FinishReason.STOP


def test_stop_tokens_and_the_limit_end_it_as_ever() -> None:
    tokens, reason = alone(1, sampling=SamplingParams(max_tokens=7))
    assert len(tokens) == 7 and reason is FinishReason.LENGTH
    stop = tokens[4]
    cut, reason = alone(1, sampling=SamplingParams(max_tokens=120, stop_token_ids=(stop,)))
    assert cut == tokens[: tokens.index(stop) + 1] and reason is FinishReason.STOP


def test_other_limits_of_tokens_apply_as_well() -> None:
    allowed = (ord("q"), ord(" "), END_ID, 999)
    tokens, _ = alone(1, sampling=SamplingParams(max_tokens=120, allowed_token_ids=allowed))
    assert set(text_of(tokens)) == {"q", " "}


def test_a_dead_end_fails_its_own_request() -> None:
    engine = new_engine()
    others = [ask(engine, number) for number in (0, 1)]
    dead = ask(engine, 1, sampling=SamplingParams(max_tokens=120, allowed_token_ids=(ord("1"),)))
    assert answers(engine, others) == [alone(0), alone(1)]
    assert engine.last[dead].finish_reason is FinishReason.ERROR
    assert "No token may come next" in (engine.last[dead].error or "")


def test_a_bad_grammar_is_refused_and_nobody_else_notices() -> None:
    engine = new_engine()
    bad = engine.add(PROMPT, grammar=GrammarSpec(GrammarKind.REGEX, "(a"), max_tokens=5)
    good = ask(engine, 0)
    assert answers(engine, [good]) == [alone(0)]
    last = engine.last[bad]
    assert (last.finish_reason, last.error, last.error_code) == (
        FinishReason.ERROR,
        "The grammar is refused: unclosed group.",
        "invalid_value",
    )


def test_a_grammar_that_has_no_turn_in_time_is_told_from_a_bad_one() -> None:
    class Slow(NoGrammars):
        def compile(self, spec: GrammarSpec) -> Grammar:
            released.wait(10.0)
            raise InvalidRequestError("bad")

    released, engine = threading.Event(), SimEngine(grammars=Slow())
    ids = [
        engine.add(PROMPT, grammar=GrammarSpec(GrammarKind.REGEX, text), max_tokens=1)
        for text in "abcdefgh"[: MAX_THREADS + 1]
    ]
    engine.clock.sleep(QUEUE_SECONDS + 1)
    while ids[-1] not in engine.last:
        engine.step()
    assert engine.last[ids[-1]].error_code == OVERLOADED
    released.set()
    engine.run()
    assert {engine.last[request_id].error_code for request_id in ids[:-1]} == {"invalid_value"}


def test_who_is_gone_before_the_grammar_is_compiled_leaves_nothing() -> None:
    engine = SimEngine(grammars=new_compiler())
    request_id = ask(engine, 0)
    engine.abort([request_id])
    engine.run()
    assert engine.backend.steps == [] and not engine.tokens[request_id]


def test_what_is_being_compiled_is_in_the_journal() -> None:
    """Whoever kills the engine while it is compiled is found like any other."""
    engine = SimEngine(grammars=new_compiler())
    request_id = ask(engine, 0)
    engine.step()
    assert (0, request_id) in engine.journal.compiles


def test_a_step_without_work_reports_no_tokens() -> None:
    engine = new_engine()
    ask(engine, 2)
    engine.run()
    engine.step()
    assert engine.stats.num_step_tokens == 0
