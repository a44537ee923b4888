"""What may come next, for each kind of grammar, over a vocabulary of bytes."""

import dataclasses
import json
import re
import threading

import numpy as np
import pytest

from octavo.core.errors import InvalidRequestError
from octavo.core.grammar_spec import GrammarKind, GrammarSpec, Reasoning
from octavo.decoding.grammar import MAX_CACHED_GRAMMARS, Grammar, GrammarCompiler
from octavo.decoding.json_schema import MAX_PROPERTIES
from tests.decoding.byte_grammars import (
    COMPILER,
    END_ID,
    TOOL_ID,
    VOCAB_SIZE,
    VOCABULARY,
    allowed,
    compiled,
    matches,
    new_compiler,
    spell,
    walk,
)

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TAGS = {
    "structures": [
        {"begin": "<f=a>", "schema": {"type": "integer"}, "end": "</f>"},
        {"begin": "<f=b>", "schema": {"type": "boolean"}, "end": "<|tool|>."},
        {"begin": "<|tool|>", "schema": {"type": "null"}, "end": ""},
    ],
    "triggers": ["<f=", "<|tool|>"],
}


@pytest.mark.parametrize(
    ("kind", "text", "good", "bad"),
    [
        ("regex", "a+b?", ["a", "aab"], ["", "b", "abb"]),
        ("regex", r"\d{2}/\d\n.", ["12/3\nx"], ["12/3\n", "1/2\nx", "\u0661\u0662/3\nx"]),
        ("regex", "a\nb", ["a\nb"], ["anb"]),
        ("choice", '["yes", "no", "no"]', ["yes", "no"], ["y", "yesno", ""]),
        (
            "choice",
            json.dumps(["a.b", 'q"\\/\n\u0001', "\U0001f600"]),
            ["a.b", 'q"\\/\n\u0001', "\U0001f600"],
            ["axb"],
        ),
        ("lark", 'start: "(" start ")" | "x"', ["x", "((x))"], ["(x", "()"]),
        ("lark", 'root: "a"\nstart: root %json {"type": "boolean"}', ["atrue"], ["a1", "true"]),
        ("lark", 'root ::= "a" digit*\ndigit ::= [0-9]', ["a", "a12"], ["", "b"]),
        ("json_object", "", ["{}", '{"a": [1, {"b":null}]}'], ["[]", "1", "{ }", '{"a":  1}']),
        (
            "json_schema",
            json.dumps(PERSON),
            ['{"name":"x","age":3}', '{"name": "x", "age": 3}'],
            ['{"age":3,"name":"x"}', '{"name":"x"}', '{"name":"toolong","age":1}', ' {"name":"x","age":3}'],
        ),
        ("structural_tag", json.dumps(TAGS), ["hello", "x <f=a>12</f> y"], ["<f=a>x", "<f=", "<f=b>true"]),
    ],
)
def test_what_a_grammar_takes(kind: str, text: str, good: list[str], bad: list[str]) -> None:
    grammar = compiled(kind, text)
    assert [answer for answer in good if not matches(grammar, answer)] == []
    assert [answer for answer in bad if matches(grammar, answer)] == []


@pytest.mark.parametrize(
    ("whitespace", "good", "bad"),
    [
        ("", '{"name":"x","age":3}', '{"name": "x","age":3}'),
        (r"\n?", '{\n"name":"x",\n"age":3}', '{\n\n"name":"x","age":3}'),
    ],
)
def test_white_space_is_as_wanted(whitespace: str, good: str, bad: str) -> None:
    grammar = compiled("json_schema", json.dumps(PERSON), whitespace)
    assert matches(grammar, good) and not matches(grammar, bad)


def test_embedded_schemas_have_the_same_white_space() -> None:
    text = 'start: "%json" %json ' + json.dumps(PERSON)
    assert matches(compiled("lark", text), '%json{"name": "x","age":3}')
    assert not matches(compiled("lark", text), '%json{"name":  "x","age":3}')


@pytest.mark.parametrize(
    ("kind", "text", "good", "bad"),
    [
        ("json_schema", json.dumps(PERSON), '{"name":"x","age":3}', "{}"),
        ("regex", "a{2}[}]", "aa}", "aa"),
        ("choice", '["}", "b"]', "}", "c"),
        ("lark", 'root: "}"\nstart: root # }', "}", "b"),
    ],
)
@pytest.mark.parametrize("tags", [("<think>", "</think>"), ("<|tool|>", "</think>"), ("<think>", "<|tool|>")])
def test_reasoning_comes_before_the_answer(
    kind: str, text: str, good: str, bad: str, tags: tuple[str, str]
) -> None:
    spec, (opening, closing) = GrammarSpec(GrammarKind(kind), text), tags
    optional, begun = (
        COMPILER.compile(dataclasses.replace(spec, reasoning=reasoning))
        for reasoning in (Reasoning(closing, opening), Reasoning(closing))
    )
    for thoughts in (f"hm{closing}", f"{closing}\n\n", f'{{"a": {closing}'):
        assert follows(begun, thoughts + good) and follows(optional, opening + thoughts + good)
        assert not follows(begun, thoughts + bad) and not follows(optional, opening + thoughts + bad)
        assert not follows(optional, thoughts + good)
    assert follows(optional, good) and not follows(optional, bad) and not follows(begun, good)


def follows(grammar: Grammar, text: str) -> bool:
    """As matches does, with the names of control tokens for these."""
    state = grammar.start()
    for piece in re.split(r"(<\|tool\|>)", text):
        for token in [TOOL_ID] if piece == "<|tool|>" else piece.encode():
            if token not in allowed(state):
                return False
            state.advance([token])
    return END_ID in allowed(state)


# Control tokens and bytes


def test_a_control_token_comes_where_it_is_named_and_nowhere_else() -> None:
    state = compiled("lark", 'start: "a" <|tool|> /.*/').start()
    assert TOOL_ID not in allowed(state)
    state.advance(b"a")
    assert allowed(state) == [TOOL_ID]
    state.advance([TOOL_ID])
    everything = allowed(state)
    assert END_ID in everything and TOOL_ID not in everything


@pytest.mark.parametrize("text", ['["<|tool|>"]', '["<|im_end|>x"]'])
def test_text_that_names_a_control_token_is_text(text: str) -> None:
    [choice] = json.loads(text)
    grammar = compiled("choice", text)
    assert matches(grammar, choice)
    assert not {TOOL_ID, END_ID} & set(allowed(grammar.start()))


def test_the_names_of_control_tokens_in_tags_are_these() -> None:
    grammar = compiled("structural_tag", json.dumps(TAGS))
    state = grammar.start()
    state.advance(b"<f=b>true")
    assert allowed(state) == [TOOL_ID]
    state.advance([TOOL_ID, ord(".")])
    assert END_ID in allowed(state)
    state.advance([TOOL_ID])
    assert allowed(state) == [ord("n")]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("kind", "text"), [("regex", ".{1,40}"), ("json_schema", '{"type":"string"}')])
def test_whatever_comes_is_text_in_utf8(kind: str, text: str, seed: int) -> None:
    tokens = walk(compiled(kind, text), seed, max_tokens=2000)
    assert len(tokens) < 2000 and TOOL_ID not in tokens and max(tokens) < len(VOCABULARY)
    assert END_ID not in tokens[:-1]
    assert spell(tokens[:-1] if tokens[-1] == END_ID else tokens).decode()


def test_it_may_end_only_where_the_grammar_may() -> None:
    state = compiled("regex", "a{2,3}").start()
    ends = []
    for _ in range(3):
        ends.append(END_ID in allowed(state))
        state.advance(b"a")
    assert ends == [False, False, True] and state.is_finished


def test_the_end_of_turn_token_finishes_it() -> None:
    state = compiled("regex", "a+").start()
    state.advance(b"a")
    assert not state.is_finished
    state.advance([END_ID])
    assert state.is_finished


def test_whoever_ignores_the_end_goes_on_as_long_as_there_is_more() -> None:
    state = compiled("regex", "a{1,2}b?").start(ignores_end=True)
    state.advance(b"a")
    assert END_ID not in allowed(state) and allowed(state)
    state.advance(b"ab")
    assert state.is_finished


# State


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("kind", "text"),
    [("json_object", ""), ("json_schema", json.dumps(PERSON)), ("structural_tag", json.dumps(TAGS))],
)
def test_a_state_is_a_function_of_the_tokens(kind: str, text: str, seed: int) -> None:
    """One that took them at once, after a crash, allows what one that took them one by one does."""
    grammar = compiled(kind, text)
    tokens, state = walk(grammar, seed), grammar.start()
    for count, token in enumerate(tokens):
        again = grammar.start()
        again.advance(tokens[:count])
        assert allowed(again) == allowed(state)
        assert not again.is_finished
        state.advance([token])


def test_requests_do_not_share_their_place() -> None:
    grammar = compiled("regex", "ab")
    first, second = grammar.start(), grammar.start()
    first.advance(b"a")
    assert allowed(first) == [ord("b")] and ord("a") in allowed(second)


def test_masks_filled_together_are_those_filled_alone() -> None:
    grammars = [compiled("regex", "a+"), compiled("json_object", ""), compiled("regex", "b")]
    states = [grammar.start() for grammar in grammars for _ in range(3)]
    states[1].advance(b"z")  # which it does not allow
    masks = np.zeros((len(states), -(-VOCAB_SIZE // 32)), np.uint32)
    COMPILER.fill_masks(states, masks)
    alone = [allowed(state) for state in states]
    assert alone[1] == [] and all(alone[:1] + alone[2:])
    together = [
        np.nonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))[0].tolist() for mask in masks
    ]
    assert together == alone


def test_a_token_that_is_not_allowed_is_a_dead_end() -> None:
    state = compiled("regex", "ab").start()
    assert state.failure is None
    state.advance(b"b")
    assert allowed(state) == [] and not state.is_finished
    assert state.failure is not None and state.failure.startswith("The grammar cannot be followed further: ")


def test_a_grammar_that_becomes_too_complex_fails_with_a_sentence() -> None:
    state = compiled("regex", r"((\w{1,100}){1,100}){1,100}x").start()
    for _ in range(200):
        state.advance(b"a")
        if not allowed(state):
            break
    assert "too many" in (state.failure or "")


@pytest.mark.parametrize("required", [[], [f"p{i}" for i in range(MAX_PROPERTIES)]], ids=len)
def test_the_largest_objects_can_be_followed(required: list[str]) -> None:
    schema = {"type": "object", "properties": {f"p{i}": {"type": "null"} for i in range(MAX_PROPERTIES)}}
    grammar = compiled("json_schema", json.dumps({**schema, "required": required}))
    some = required or ["p3", "p500", "p999"]
    assert matches(grammar, json.dumps(dict.fromkeys(some)))


# Refused


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("regex", "(a", "unclosed group"),
        ("regex", "(?=a)b", "look-around, including look-ahead and look-behind, is not supported"),
        ("regex", r"(a)\1", "backreferences are not supported"),
        ("regex", "a{5,3}", "invalid repetition count range"),
        ("lark", "start: foo", 'unknown name: "foo"'),
        ("lark", "start: start", "nothing satisfies it"),
        ("lark", "start: <|nothing|>", 'unknown special token: "<|nothing|>"'),
        ("lark", 'foo: "a"', "no start rule found"),
        ("lark", r"start: /(?-u:\xff)/", "pattern can match invalid UTF-8"),
        (
            "json_schema",
            '{"type": "integer", "minimum": 5, "maximum": 4}',
            "minimum (5) is greater than maximum",
        ),
        ("json_schema", '{"$ref": "#"}', "nothing satisfies it"),
        ("json_schema", '{"$ref": "#/$defs/a"}', "'/$defs/a' does not exist"),
        ("json_schema", '{"$ref": "https://example.com/a"}', "retrieving it failed"),
        ("json_schema", '{"type": "strin"}', "Invalid type: strin"),
        ("json_schema", '{"oneOf": [{"type": "integer"}, {"type": "number"}]}', "tells its branches apart"),
        ("json_schema", '{"enum": []}', "anyOf is empty"),
        ("json_schema", '{"type":"string","pattern":"(?!a)"}', "look-around"),
    ],
)
def test_what_is_no_grammar_is_refused_with_the_reason(kind: str, text: str, message: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        compiled(kind, text)
    assert message in str(refused.value)
    assert len(str(refused.value)) < 400 and "\n" not in str(refused.value)


def test_a_model_without_an_end_of_turn_token_has_no_grammars() -> None:
    with pytest.raises(InvalidRequestError, match="no end-of-turn token"):
        GrammarCompiler(lambda: VOCABULARY, 300, frozenset()).compile(GrammarSpec(GrammarKind.JSON_OBJECT))


# The compiler


@pytest.mark.parametrize("vocab_size", [260, len(VOCABULARY), 300, 2048])
def test_the_models_vocabulary_may_have_another_size(vocab_size: int) -> None:
    grammar = new_compiler(vocab_size).compile(GrammarSpec(GrammarKind.REGEX, "(.|\n)*"))
    ids = allowed(grammar.start(), vocab_size)
    assert max(ids) < min(vocab_size, len(VOCABULARY)) and ord("a") in ids


def test_a_grammar_is_compiled_once_whatever_field_it_came_in() -> None:
    compiler = new_compiler()
    spec = GrammarSpec(GrammarKind.REGEX, "a+", field="guided_regex")
    assert compiler.find(spec) is None
    grammar = compiler.compile(spec)
    assert compiler.find(GrammarSpec(GrammarKind.REGEX, "a+")) is grammar
    assert compiler.find(GrammarSpec(GrammarKind.CHOICE, "a+")) is None


def test_the_cache_is_bounded_and_forgets_what_was_not_used() -> None:
    compiler = new_compiler(max_cached_bytes=200_000)
    specs = [GrammarSpec(GrammarKind.REGEX, f"a{{{number}}}") for number in range(1, 30)]
    for spec in specs:
        compiler.compile(spec)
        assert compiler.find(specs[0]) is not None
        assert compiler.num_cached_bytes <= 200_000
    assert compiler.find(specs[1]) is None and compiler.find(specs[-1]) is not None


def test_the_cache_holds_so_many_grammars_however_small() -> None:
    compiler = new_compiler()
    specs = [GrammarSpec(GrammarKind.CHOICE, f'["{number}"]') for number in range(MAX_CACHED_GRAMMARS + 1)]
    for spec in specs:
        compiler.compile(spec)
    assert [compiler.find(spec) is None for spec in specs] == [True] + [False] * MAX_CACHED_GRAMMARS


def test_the_vocabulary_is_loaded_once_and_with_the_first_grammar() -> None:
    loads = []

    def load() -> object:
        loads.append(1)
        return VOCABULARY

    compiler = GrammarCompiler(load, VOCAB_SIZE, frozenset((END_ID,)))  # type: ignore[arg-type]
    assert not loads
    threads = [threading.Thread(target=compiler.prepare) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1


def test_other_constraints_fill_their_own_masks() -> None:
    class Even:
        def fill_mask(self, mask: np.ndarray) -> None:
            mask[:] = 0x55555555

    masks = np.zeros((1, 4), np.uint32)
    COMPILER.fill_masks([Even()], masks)  # type: ignore[list-item]
    assert (masks == 0x55555555).all()
