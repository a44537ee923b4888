"""What the grammar lets through is what the parser reads: calls of the tools, arguments of their schemas."""

import dataclasses
import json
from collections.abc import Sequence

import pytest

from octavo.text.answer_parser import ParsedAnswer, PlainAnswer
from octavo.text.deltas import ArgumentsDelta, CallDelta, Delta, ReasoningDelta, TextDelta, merged
from octavo.text.reasoning import REASONING_TAGS, ReasoningSplitter
from octavo.text.tool_calls import ToolCallParser
from octavo.text.tool_formats import GENERIC, HERMES, LLAMA3, MISTRAL, TOOL_FORMATS, ToolFormat
from octavo.text.tool_grammar import MAX_CALLS, Thinking, ToolGrammar
from octavo.text.tool_prompt import written
from tests.decoding.byte_grammars import END_ID, TOOL_ID, VOCABULARY, allowed, compiled, walk

SCHEMAS = {
    "f": {
        "properties": {"a": {"enum": ["x", "</tool_call>"]}},
        "required": ["a"],
        "additionalProperties": False,
    },
    "g": {"type": "object", "properties": {}, "additionalProperties": False},
}
CALLS = [{"name": "f", "arguments": {"a": "</tool_call>"}}, {"name": "g", "arguments": {}}]
CALLED = [
    *(CallDelta(0, "f"), ArgumentsDelta(0, '{"a": "</tool_call>"}')),
    *(CallDelta(1, "g"), ArgumentsDelta(1, "{}")),
]
THINK = REASONING_TAGS[0]
forms = pytest.mark.parametrize("form", TOOL_FORMATS.values(), ids=lambda form: form.name)


def grammar(form: ToolFormat, **options: object) -> ToolGrammar:
    """Of a model whose opening mark is a control token where it really is one."""
    control_ids = {} if form in (HERMES, GENERIC) else {form.opening: TOOL_ID}
    return ToolGrammar(form, SCHEMAS, control_ids=control_ids, **options)  # type: ignore[arg-type]


def spell(token_ids: Sequence[int], form: ToolFormat) -> str:
    """As the parser sees it: the mark is in the text, the end is not."""
    special = {TOOL_ID: form.opening.encode(), END_ID: b""}
    spelled = (special.get(token_id, VOCABULARY.token_bytes[token_id]) for token_id in token_ids)
    return b"".join(spelled).decode(errors="replace")


def accepts(lark: str, text: str, form: ToolFormat) -> bool:
    """Whether the text may be an answer; the mark in it is the control token if it is one for this model."""
    before, mark, behind = text.partition(form.opening if f"<[{TOOL_ID}]>" in lark else "\0")
    state = compiled("lark", lark).start()
    for token_id in (*before.encode(), *([TOOL_ID] if mark else []), *behind.encode()):
        if token_id not in allowed(state):
            return False
        state.advance([token_id])
    return END_ID in allowed(state)


def read(
    text: str, form: ToolFormat, *, is_parallel: bool = True, is_open: bool | None = None
) -> list[Delta]:
    splitter = PlainAnswer() if is_open is None else ReasoningSplitter(THINK, is_open=is_open)
    calls = ToolCallParser(form, SCHEMAS, is_parallel=is_parallel, is_exact=True)
    parser = ParsedAnswer(splitter, calls)
    return merged([*parser.push(text), *parser.finish()])


@forms
def test_what_a_model_writes_is_accepted_and_read(form: ToolFormat) -> None:
    forced, free = grammar(form).forced(), grammar(form).allowed()
    several, one = written(CALLS, form), written(CALLS[:1], form)
    for text, calls in ((several, CALLED), (one, CALLED[:2])):
        assert accepts(forced, text, form) and accepts(free, text, form)
        assert read(text, form) == calls
    single = dataclasses.replace(grammar(form), is_parallel=False)
    for lark in (single.forced(), single.allowed()):
        assert accepts(lark, one, form) and not accepts(lark, several, form)


@forms
def test_a_forced_answer_is_a_call_and_nothing_else(form: ToolFormat) -> None:
    lark = grammar(form).forced()
    wrong = written([{"name": "f", "arguments": {"a": "y"}}], form)
    unknown = written([{"name": "h", "arguments": {}}], form)
    for text in ("", "Hm.", wrong, unknown, f"Hm. {written(CALLS, form)}", f"{written(CALLS, form)} So."):
        assert not accepts(lark, text, form)


@forms
def test_a_free_answer_is_text_or_a_valid_call(form: ToolFormat) -> None:
    lark = grammar(form).allowed()
    for text in ("", "Hm.", "日本 <|x", " \n Hm. ```json\n[1]```"):
        assert accepts(lark, text, form)
        assert read(text, form) == ([TextDelta(text)] if text else [])
    assert not accepts(lark, written([{"name": "f", "arguments": {"a": "y"}}], form), form)


@pytest.mark.parametrize("form", (HERMES, MISTRAL), ids=lambda form: form.name)
def test_marks_may_stand_anywhere_in_a_free_answer(form: ToolFormat) -> None:
    text = f"Hm.\n{written(CALLS, form)}\nSo."
    assert accepts(grammar(form).allowed(), text, form)
    assert read(text, form) == [TextDelta("Hm."), *CALLED, TextDelta("\nSo.")]


def test_a_mark_that_is_spelled_out_binds_as_its_token_does() -> None:
    state = compiled("lark", grammar(MISTRAL).allowed()).start()
    state.advance(list(b"a [TOOL_CALLS]"))
    assert allowed(state) == [ord(" ")]


@pytest.mark.parametrize("form", (HERMES, LLAMA3, GENERIC), ids=lambda form: form.name)
@pytest.mark.parametrize("thinking", (Thinking.MAYBE, Thinking.ALWAYS))
def test_reasoning_comes_first(form: ToolFormat, thinking: Thinking) -> None:
    is_open = thinking is Thinking.ALWAYS
    text = "a {[<tool_call</think>" if is_open else "<think>a {[<tool_call</think>"
    bound = grammar(form, thinking=thinking, tags=THINK)
    for lark in (bound.forced(), bound.allowed()):
        assert accepts(lark, f"{text}\n\n{written(CALLS, form)}", form)
    assert not accepts(bound.forced(), text, form) and not accepts(bound.forced(), f"{text}Yes.", form)
    assert accepts(bound.forced(), written(CALLS, form), form) is not is_open
    assert accepts(bound.allowed(), f"{text}Yes.", form)
    deltas = read(f"{text}\n\n{written(CALLS, form)}", form, is_open=is_open)
    assert deltas == [ReasoningDelta("a {[<tool_call"), *CALLED]


@forms
def test_an_answer_that_has_to_call_ends(form: ToolFormat) -> None:
    call = {"name": "g", "arguments": {}}
    for count in (MAX_CALLS, MAX_CALLS + 1):
        is_allowed = accepts(grammar(form).forced(), written([call] * count, form), form)
        assert is_allowed is (count == MAX_CALLS)


@forms
@pytest.mark.parametrize("is_forced", (False, True))
@pytest.mark.parametrize("is_parallel", (False, True))
def test_whatever_the_grammar_lets_through_is_read(
    form: ToolFormat, is_forced: bool, is_parallel: bool
) -> None:
    """Answers at random: every call is of a tool, its arguments are complete, nothing looks broken."""
    bound = grammar(form, is_parallel=is_parallel)
    automaton = compiled("lark", bound.forced() if is_forced else bound.allowed())
    num_complete = 0
    for seed in range(12):
        token_ids = walk(automaton, seed, max_tokens=160)
        deltas = read(spell(token_ids, form), form, is_parallel=is_parallel)
        calls = [delta for delta in deltas if isinstance(delta, CallDelta)]
        assert {call.name for call in calls} <= set(SCHEMAS)
        assert len(calls) <= 1 or is_parallel
        if len(token_ids) < 160:  # the answer is complete
            num_complete += 1
            assert calls or not is_forced
            for delta in deltas:
                assert not isinstance(delta, TextDelta) or not is_forced
                if isinstance(delta, ArgumentsDelta):
                    assert json.loads(delta.text) in ({}, {"a": "x"}, {"a": "</tool_call>"})
    assert num_complete > 0 or not is_forced
