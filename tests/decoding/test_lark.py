"""Every kind of grammar as Lark: limits, and what is refused before anything is compiled."""

import json

import pytest

from octavo.core.errors import InvalidRequestError
from octavo.core.grammar_spec import GrammarKind, GrammarSpec
from octavo.decoding.lark import MAX_CHOICES, MAX_GBNF_LENGTH, MAX_GRAMMAR_BYTES, to_lark
from octavo.decoding.lark_parts import MAX_REGEX_LENGTH


def lark(kind: str, text: str, whitespace: str | None = None) -> str:
    return to_lark(GrammarSpec(GrammarKind(kind), text, whitespace=whitespace), {"<|tool|>": 7})


def refusal(kind: str, text: str, whitespace: str | None = None) -> str:
    with pytest.raises(InvalidRequestError) as refused:
        lark(kind, text, whitespace)
    return str(refused.value)


@pytest.mark.parametrize(
    ("kind", "make", "limit"),
    [
        ("regex", lambda count: "a" * count, MAX_REGEX_LENGTH),
        ("lark", lambda count: "start: ".ljust(count, "a"), MAX_GRAMMAR_BYTES),
        ("lark", lambda count: 'root ::= "a"'.ljust(count), MAX_GBNF_LENGTH),
        ("choice", lambda count: json.dumps([str(i) for i in range(count)]), MAX_CHOICES),
    ],
)
def test_limits(kind: str, make: object, limit: int) -> None:
    lark(kind, make(limit))  # type: ignore[operator]
    message = refusal(kind, make(limit + 1))  # type: ignore[operator]
    assert f"{limit}" in message


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("json_schema", "[]", "The schema is not an object."),
        ("json_schema", "{", "It is not JSON"),
        ("json_schema", "[" * 100_000, "It is not JSON"),
        ("json_schema", '{"not": {}}', "The keyword 'not' at # is not supported."),
        ("regex", "\ud800", "half a surrogate pair"),
        ("choice", "[]", "must be 1 to 2048 strings"),
        ("choice", '["a", ""]', "none of them empty"),
        ("choice", "[1]", "must be 1 to 2048 strings"),
        ("choice", '{"a": 1}', "must be 1 to 2048 strings"),
        ("choice", r'["\ud800"]', "half a surrogate pair"),
        ("lark", 'start: "a"\n%llguidance {"allow_invalid_utf8": true}', "may not contain %llguidance"),
        ("lark", 'start: %json {"a"', "What follows %json is not JSON"),
        ("lark", 'start: b\nb: %json {"not": {}}', "In the rule b: The keyword 'not' at # is not supported."),
        ("lark", "root ::= x", "It is not a GBNF grammar: Rule 'x' not found."),
        ("lark", "root ::= " + "(" * 5000, "It is not a GBNF grammar: "),
    ],
)
def test_what_is_refused(kind: str, text: str, message: str) -> None:
    assert message in refusal(kind, text)


def test_no_grammar_forces_tokens() -> None:
    for kind, text in (("regex", "a"), ("json_object", ""), ("lark", 'start: "a"')):
        assert lark(kind, text).endswith('\n%llguidance {"no_forcing": true}\n')


def test_a_schema_in_a_schema_is_left_alone() -> None:
    schema = {"const": 'a %json {"not": 1}'}
    text = lark("lark", "start: %json " + json.dumps(schema) + ' "b"')
    assert text.count("x-guidance") == 1 and '} "b"' in text
