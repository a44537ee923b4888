"""Calls of tools or a text that must look like something: whichever the model chooses is held to its form."""

import dataclasses
import json
from typing import Any, cast

import pytest

from octavo.core.errors import InvalidRequestError
from octavo.core.grammar_spec import GrammarKind, GrammarSpec
from octavo.server.answer_form import AnswerForm, thinking_after
from octavo.server.tools import ToolUse
from octavo.text.chat_abilities import ChatAbilities
from octavo.text.deltas import ArgumentsDelta, CallDelta, Delta, ReasoningDelta, TextDelta, merged
from octavo.text.reasoning import REASONING_TAGS
from octavo.text.tool_formats import GENERIC, HERMES, LLAMA3, MISTRAL, TOOL_FORMATS, ToolFormat
from octavo.text.tool_grammar import MAX_CALLS, Thinking
from octavo.text.tool_prompt import written
from tests.decoding.byte_grammars import COMPILER, END_ID, TOOL_ID, VOCABULARY, allowed, walk
from tests.text.test_tool_grammar import spell
from tests.text.tiny_text import chunks

SCHEMA = (
    '{"type": "object", "properties": {"name": {"const": "f"}}, "required": ["name"],'
    ' "additionalProperties": false}'
)
OBJECT = GrammarSpec(GrammarKind.JSON_SCHEMA, SCHEMA, "response_format.json_schema.schema")
LETTERS = GrammarSpec(GrammarKind.REGEX, "[a-z]+", "guided_regex")
USE = ToolUse(schemas={"f": {"type": "object"}, "g": {"properties": {}, "additionalProperties": False}})
CALLS = [{"name": "f", "arguments": {"a": ["}"]}}, {"name": "g", "arguments": {}}]
READ = [
    *(CallDelta(0, "f"), ArgumentsDelta(0, '{"a": ["}"]}')),
    *(CallDelta(1, "g"), ArgumentsDelta(1, "{}")),
]
forms = pytest.mark.parametrize("form", TOOL_FORMATS.values(), ids=lambda form: form.name)


def either(form: ToolFormat, wanted: GrammarSpec = OBJECT, **fields: Any) -> AnswerForm:
    usual = {"abilities": ChatAbilities(form), "use": USE, "thinking": Thinking.NEVER, "wanted": wanted}
    return AnswerForm(**{**usual, **fields})


def spec_of(answer_form: AnswerForm) -> GrammarSpec:
    spec = answer_form.grammar(None, cast(Any, None))  # prompts are asked for the tokens of a budget only
    assert spec is not None
    return spec


def marked(calls: list[dict[str, Any]], form: ToolFormat) -> str:
    """Calls as they are told from other JSON by their first characters."""
    return form.opening + written(calls, form) if form is LLAMA3 else written(calls, form)


def accepts(answer_form: AnswerForm, text: str) -> bool:
    state = COMPILER.compile(spec_of(answer_form)).start()
    for byte in text.encode():
        if byte not in allowed(state):
            return False
        state.advance([byte])
    return END_ID in allowed(state)


def read(answer_form: AnswerForm, text: str, cuts: list[int] | None = None) -> list[Delta]:
    parser = answer_form.new_parser()
    deltas = [delta for piece in chunks(text, cuts or []) for delta in parser.push(piece)]
    return merged([*deltas, *parser.finish()])


@forms
def test_calls_or_a_text_and_nothing_else(form: ToolFormat) -> None:
    answer_form = either(form)
    calls, text = marked(CALLS, form), '{"name": "f"}'
    for answer, deltas in ((calls, READ), (text, [TextDelta(text)])):
        assert accepts(answer_form, answer)
        assert read(answer_form, answer) == read(answer_form, answer, list(range(len(answer)))) == deltas
    one = written(CALLS[:1], form.bare).strip("[]")
    assert accepts(answer_form, one) and read(answer_form, one) == READ[:2]
    unknown = marked([{"name": "h", "arguments": {}}], form)
    for answer in ("", "Hm.", unknown, calls + text, text + calls, f" {calls}", '{"name": "g"}'):
        assert not accepts(answer_form, answer)


@forms
def test_whatever_the_grammar_lets_through_is_read(form: ToolFormat) -> None:
    answer_form = either(form)
    automaton = COMPILER.compile(spec_of(answer_form))
    for seed in range(8):
        token_ids = walk(automaton, seed, max_tokens=80)
        deltas = read(answer_form, spell(token_ids, form))
        kinds = {type(delta) for delta in deltas}
        assert not (TextDelta in kinds and CallDelta in kinds)
        assert len(token_ids) == 80 or kinds


@forms
def test_an_object_is_a_call_if_it_has_all_that_one_has(form: ToolFormat) -> None:
    anything = either(form, GrammarSpec(GrammarKind.JSON_OBJECT, field="response_format"))
    key = form.arguments_key
    for text in (
        '{"name": "f"}',
        '{"name": "h", "arguments": {}}',
        f'{{"name": "f", "{key}": {{}}, "x": 1}}',
    ):
        assert accepts(anything, text)
        deltas = read(anything, text)
        assert deltas == [TextDelta(text)] or "x" in text
    assert read(anything, f'{{"name": "f", "{key}": {{}}}}') == [CallDelta(0, "f"), ArgumentsDelta(0, "{}")]


def test_a_text_that_is_cut_off_early_is_one() -> None:
    assert read(either(HERMES), "<tool_") == [TextDelta("<tool_")]
    assert read(either(HERMES), "") == []


@forms
@pytest.mark.parametrize(
    ("kind", "text", "answer"),
    (
        ("regex", "[a-z]+", "abc"),
        ("regex", r"(<tool_[a-z]+|\[\{|`` .)", "<tool_call"),
        ("choice", '["yes", "[no]", "<tool_"]', "[no]"),
        ("lark", 'start: "a" | "<" /[b-e]+/ ">" | "[" %json {"type": "integer"} "]"', "[12]"),
        (
            "structural_tag",
            '{"format": {"type": "tag", "begin": "<a>", "content": {"type": "any_text"}, "end": "</a>"}}',
            "<a>[{</a>",
        ),
    ),
)
def test_calls_or_a_text_that_is_no_json(form: ToolFormat, kind: str, text: str, answer: str) -> None:
    answer_form = either(form, GrammarSpec(GrammarKind(kind), text, "structured_outputs"))
    calls = form.opening + written(CALLS, form) if form is LLAMA3 else written(CALLS, form)
    for given, deltas in ((calls, READ), (answer, [TextDelta(answer)])):
        assert accepts(answer_form, given)
        assert read(answer_form, given) == read(answer_form, given, list(range(len(given)))) == deltas
    for other in (calls + answer, answer + calls, written([{"name": "h", "arguments": {}}], form)):
        assert not accepts(answer_form, other)


@forms
def test_a_text_that_may_begin_as_calls_do_is_refused(form: ToolFormat) -> None:
    for kind, text in (
        ("regex", r"(.|\n)*"),
        ("choice", json.dumps(["yes", f"{form.telltale}x"])),
        ("lark", "start: /[^z]+/"),
        ("structural_tag", '{"format": {"type": "any_text"}}'),
    ):
        with pytest.raises(InvalidRequestError, match="could not be told from them"):
            COMPILER.compile(spec_of(either(form, GrammarSpec(GrammarKind(kind), text, "guided_x"))))


def test_a_mark_that_is_a_control_token_is_in_no_text() -> None:
    abilities = ChatAbilities(
        dataclasses.replace(LLAMA3, opening="<|tool|>"), control_ids={"<|tool|>": TOOL_ID}
    )
    anything = either(LLAMA3, GrammarSpec(GrammarKind.REGEX, r"(.|\n)*"), abilities=abilities)
    automaton = COMPILER.compile(spec_of(anything))
    state = automaton.start()
    state.advance([TOOL_ID])
    assert set(allowed(state)) <= {
        token_id for token_id, piece in enumerate(VOCABULARY.token_bytes) if piece[:1] == b"{"
    }
    assert accepts(anything, "Hm. {")
    given = "<|tool|>" + '{"name": "g", "parameters": {}}'
    assert read(anything, given) == [CallDelta(0, "g"), ArgumentsDelta(0, "{}")]
    assert read(anything, "<|tool|>?") == [TextDelta("<|tool|>?")]


def test_other_white_space_leaves_calls_with_their_mark() -> None:
    for whitespace in ("", r"\s{0,2}"):
        spaced = either(HERMES, dataclasses.replace(OBJECT, whitespace=whitespace))
        assert accepts(spaced, written(CALLS, HERMES)) and accepts(spaced, '{"name":"f"}')
        assert not accepts(spaced, '{"name":"f","arguments":{}}')


@pytest.mark.parametrize("text", ('{"type": "array"}', "{}", "[", '{"anyOf": [{"type": "object"}]}', "[1]"))
def test_a_model_that_writes_calls_as_lists_answers_by_objects_only(text: str) -> None:
    wanted = GrammarSpec(GrammarKind.JSON_SCHEMA, text, "guided_json")
    for form in (GENERIC, MISTRAL):
        with pytest.raises(InvalidRequestError, match="type has to be 'object'") as caught:
            spec_of(either(form, wanted))
        assert caught.value.param == "guided_json"


def test_an_answer_that_has_to_call_has_no_text_to_be_held() -> None:
    forced = dataclasses.replace(USE, is_forced=True, is_exact=True)
    with_text, without = either(GENERIC, LETTERS, use=forced), either(GENERIC, use=forced, wanted=None)
    assert spec_of(with_text) == spec_of(without)
    assert read(with_text, written(CALLS, GENERIC)) == READ


def test_parallel_calls_have_their_limits() -> None:
    call = {"name": "g", "arguments": {}}
    assert accepts(either(HERMES), written([call] * MAX_CALLS, HERMES))
    assert not accepts(either(HERMES), written([call] * (MAX_CALLS + 1), HERMES))
    single = either(HERMES, use=dataclasses.replace(USE, is_parallel=False))
    assert accepts(single, written([call], HERMES)) and not accepts(single, written([call] * 2, HERMES))


def test_reasoning_comes_before_either() -> None:
    abilities = ChatAbilities(HERMES, reasoning=REASONING_TAGS[0])
    for prompt, opening in (("user:\n<think>\n", ""), ("user:", "<think>")):
        reasons = either(HERMES, abilities=abilities, thinking=thinking_after(prompt, abilities))
        for answer, deltas in (
            (written(CALLS, HERMES), READ),
            ('{"name": "f"}', [TextDelta('{"name": "f"}')]),
        ):
            assert accepts(reasons, f"{opening}Hm.</think>\n{answer}")
            assert read(reasons, f"{opening}Hm.</think>\n{answer}") == [ReasoningDelta("Hm."), *deltas]
    assert thinking_after("<think>\n\n</think>\n", abilities) is Thinking.NEVER


def test_a_bad_schema_of_a_tool_is_told_from_one_of_the_text() -> None:
    bad = dataclasses.replace(USE, schemas={"f": {"not": {}}})
    with pytest.raises(
        InvalidRequestError, match="In the parameters of a tool: In the rule tool_0: The keyword 'not'"
    ):
        COMPILER.compile(spec_of(either(HERMES, use=bad)))
