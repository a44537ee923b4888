"""Structural tags in every spelling: free text is free up to a trigger, what is in a tag is as it says."""

import json
from typing import Any

import pytest

from octavo.core.errors import InvalidRequestError
from octavo.decoding.structural_tag import MAX_FORMATS, MAX_NESTING, MAX_TAGS, structural_tag
from tests.decoding.byte_grammars import TOOL_ID, allowed, compiled, matches

Format = dict[str, Any]
INTEGER: Format = {"type": "json_schema", "json_schema": {"type": "integer"}}
ANY: Format = {"type": "any_text"}
CONST: Format = {"type": "const_string", "value": "ok"}
OLDER: Format = {"begin": "<0>", "schema": {}, "end": ""}
LETTERS: Format = {"type": "regex", "pattern": "[a-z<]+"}


def tag(begin: str, content: Format = INTEGER, end: Any = "</f>") -> Format:
    return {"type": "tag", "begin": begin, "content": content, "end": end}


A, B = tag("<f=a>"), tag("<f=b>", ANY)


def triggered(*tags: Format, **fields: Any) -> Format:
    return {"type": "triggered_tags", "triggers": ["<f="], "tags": tags or (A, B), **fields}


def separated(**fields: Any) -> Format:
    return {"type": "tags_with_separator", "tags": [A, B], "separator": ", ", **fields}


def seq(*elements: Format) -> Format:
    return {"type": "sequence", "elements": elements}


FOLLOWED: list[tuple[Format, list[str], list[str]]] = [
    (CONST, ["ok"], ["", "o", "okk"]),
    (INTEGER, ["-12"], ["x", ""]),
    (ANY, ["", "x <f=", "\u65e5"], []),
    (A, ["<f=a>1</f>"], ["1", "<f=a>1", "<f=a>x</f>", "<f=a>1</f>x"]),
    (B, ["<f=b></f>", "<f=b>x<y</f>"], ["<f=b>x", "<f=b></f></f>"]),
    (tag("(", LETTERS, ["<)", "]"]), ["(ab<)", "(a<<)", "(ab]"], ["(<)", "(]", "(A<)", "(ab<)a"]),
    (tag("(", CONST, ""), ["(ok"], ["(", "(okx"]),
    (seq(CONST, A, ANY), ["ok<f=a>1</f>", "ok<f=a>1</f> x"], ["ok", "<f=a>1</f>"]),
    ({"type": "or", "elements": [CONST, A]}, ["ok", "<f=a>1</f>"], ["", "okok", "<f=a>ok</f>"]),
    (triggered(), ["", "x", "x<f=a>1</f>y<f=b>z</f>", "<f"], ["<f=", "x<f=a>y</f>", "<f=c>"]),
    (triggered(at_least_one=True), ["<f=a>1</f>", "x<f=a>1</f>y<f=b></f>"], ["", "x", "x<f=a>1"]),
    (triggered(stop_after_first=True), ["", "x", "x<f=a>1</f>"], ["<f=a>1</f>x", "<f="]),
    (triggered(at_least_one=True, stop_after_first=True), ["x<f=a>1</f>"], ["", "x", "<f=a>1</f>x"]),
    (separated(), ["", "<f=a>1</f>", "<f=a>1</f>, <f=b>x</f>"], ["x", "<f=a>1</f>, ", "<f=b></f><f=b>"]),
    (separated(at_least_one=True), ["<f=a>1</f>, <f=a>2</f>"], [""]),
    (separated(stop_after_first=True), ["", "<f=a>1</f>"], ["<f=a>1</f>, <f=a>1</f>"]),
    (separated(separator=""), ["<f=a>1</f><f=a>1</f>"], ["<f=a>1</f>, <f=a>1</f>"]),
    (seq(tag("<think>", ANY, "</think>"), triggered()), ["<think>x</think>y<f=a>1</f>"], ["<think>x", "y"]),
    (seq(triggered(at_least_one=True, stop_after_first=True), CONST), ["x<f=a>1</f>ok"], ["ok"]),
]  # fmt: skip


@pytest.mark.parametrize(("form", "good", "bad"), FOLLOWED, ids=[str(item[0])[9:60] for item in FOLLOWED])
def test_what_a_tag_takes(form: Format, good: list[str], bad: list[str]) -> None:
    grammar = compiled("structural_tag", json.dumps({"type": "structural_tag", "format": form}))
    assert [answer for answer in good if not matches(grammar, answer)] == []
    assert [answer for answer in bad if matches(grammar, answer)] == []


def test_both_spellings_are_the_same() -> None:
    structures = [{"begin": "<f=a>", "schema": {"type": "integer"}, "end": "</f>"}]
    older = json.dumps({"structures": structures, "triggers": ["<f="]})
    newer = json.dumps({"format": triggered(A)})
    assert structural_tag(older, None, {}) == structural_tag(newer, None, {})


def test_names_of_control_tokens_stand_for_these() -> None:
    form = seq(tag("<|tool|>", ANY, "<|tool|>."), CONST)
    state = compiled("structural_tag", json.dumps({"format": form})).start()
    assert allowed(state) == [TOOL_ID]
    for token_id in (TOOL_ID, ord("x"), TOOL_ID, ord("."), ord("o"), ord("k")):
        assert token_id in allowed(state)
        state.advance([token_id])
    assert state.is_finished


def refusal(value: object) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        structural_tag(value if isinstance(value, str) else json.dumps(value), None, {})
    return str(caught.value)


def nested(depth: int) -> Format:
    form = CONST
    for _ in range(depth):
        form = seq(form)
    return form


@pytest.mark.parametrize(
    ("value", "message"),
    (
        ("[", "It is not JSON"),
        ({}, "It is not a structural tag: Object missing required field `format`."),
        ([], "It is not a structural tag: Expected `object`, got `array`."),
        ({"format": {"type": "xml"}}, "Invalid value 'xml' - at `$.format.type`"),
        ({"format": triggered(tag("<f=a>", CONST, 3))}, "got `int` - at `$.format.tags[0].end`"),
        (
            {"format": triggered(tag("<f=a>", {"type": "const_string"}))},
            "at `$.format.tags[0].content`",
        ),
        ({"format": seq()}, "length >= 1 - at `$.format.elements`"),
        ({"format": triggered(x=1)}, "unknown field `x` - at `$.format`"),
        ({"format": triggered(tag("<g>"))}, "format.tags[0].begin is '<g>', which no trigger begins."),
        ({"format": seq(ANY, CONST)}, "format.elements[0] is free text that neither ends its tag"),
        ({"format": tag("a", seq(CONST, ANY), "b")}, "format.content.elements[1] is free text"),
        ({"format": seq(triggered(), CONST)}, "format.elements[0] ends with free text"),
        (
            {"format": tag("a", {"type": "json_schema", "json_schema": {"not": {}}})},
            "format.content: The keyword 'not' at # is not supported.",
        ),
        (
            {"format": tag("a", {"type": "regex", "pattern": ""})},
            "format.content: The regular expression has 0",
        ),
        (
            {"structures": [{"begin": "<0>", "schema": {}, "end": ""}], "triggers": ["x"]},
            "format.structures[0].begin",
        ),
        ({"structures": [], "triggers": ["x"]}, "length >= 1 - at `$.structures`"),
        ({"structures": [OLDER], "triggers": [""]}, "at `$.triggers[0]`"),
    ),
)
def test_what_is_refused(value: object, message: str) -> None:
    assert message in refusal(value)


def test_limits() -> None:
    structural_tag(json.dumps({"format": triggered(*[A] * MAX_TAGS)}), None, {})
    assert "1 to 256 tags" in refusal({"format": triggered(*[A] * (MAX_TAGS + 1))})
    structural_tag(json.dumps({"format": nested(MAX_NESTING)}), None, {})
    structural_tag(json.dumps({"format": seq(*[CONST] * (MAX_FORMATS - 1))}), None, {})
    assert refusal({"format": seq(*[CONST] * MAX_FORMATS)}) == "format holds more than 1000 formats."
    assert refusal({"format": nested(MAX_NESTING + 1)}) == "format is nested more than 16 deep."
    for depth, message in ((300, "format is nested more than 16 deep."), (10_000, "It is not JSON")):
        text = '{"type": "sequence", "elements": [' * depth + json.dumps(CONST) + "]}" * depth
        assert message in refusal(f'{{"format": {text}}}')
