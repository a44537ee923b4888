"""Tools, calls and results in words, for templates that know none of them."""

import json

import pytest

from octavo.text.deltas import ArgumentsDelta, CallDelta
from octavo.text.tool_calls import ToolCallParser
from octavo.text.tool_formats import GENERIC, HERMES, TOOL_FORMATS, ToolFormat
from octavo.text.tool_prompt import spelled_out, written

TOOL = {"type": "function", "function": {"name": "f", "description": "Größe", "parameters": {}}}
USER = {"role": "user", "content": "hi"}
CALLS = [
    {"id": str(number), "type": "function", "function": {"name": name, "arguments": {"a": number}}}
    for number, name in enumerate("fg")
]


def test_a_system_text_tells_of_tools() -> None:
    (system, user) = spelled_out([USER], [TOOL], GENERIC)
    assert system["role"] == "system" and user == USER
    assert '\n[{"name": "NAME", "arguments": ARGUMENTS}]\n' in system["content"]
    assert json.loads(system["content"].splitlines()[-1]) == TOOL["function"]
    (first, _) = spelled_out([{"role": "system", "content": "Be kind."}, USER], [TOOL], HERMES)
    assert first["content"] == f"Be kind.\n\n{spelled_out([USER], [TOOL], HERMES)[0]['content']}"
    assert '\n<tool_call>\n{"name": "NAME", "arguments": ARGUMENTS}\n</tool_call>\n' in first["content"]


def test_without_tools_nothing_is_told() -> None:
    assert spelled_out([USER], [], GENERIC) == [USER]


def test_calls_and_results_become_turns() -> None:
    messages = [
        USER,
        {"role": "assistant", "content": "Hm.", "tool_calls": CALLS},
        {"role": "tool", "content": "one", "tool_call_id": "0"},
        {"role": "tool", "content": "two", "tool_call_id": "1"},
        {"role": "assistant", "content": "", "tool_calls": CALLS[:1]},
        {"role": "tool", "content": "three", "tool_call_id": "0"},
    ]
    assert spelled_out(messages, [], GENERIC) == [
        USER,
        {
            "role": "assistant",
            "content": 'Hm.\n[{"name": "f", "arguments": {"a": 0}}, {"name": "g", "arguments": {"a": 1}}]',
        },
        {"role": "user", "content": "Result of f:\none\n\nResult of g:\ntwo"},
        {"role": "assistant", "content": '[{"name": "f", "arguments": {"a": 0}}]'},
        {"role": "user", "content": "Result of f:\nthree"},
    ]


@pytest.mark.parametrize("form", TOOL_FORMATS.values(), ids=lambda form: form.name)
def test_what_is_written_is_read_back(form: ToolFormat) -> None:
    parser = ToolCallParser(form, {"f", "g"})
    deltas = parser.push(written([call["function"] for call in CALLS], form)) + parser.finish()
    assert deltas == [
        *(CallDelta(0, "f"), ArgumentsDelta(0, '{"a": 0}')),
        *(CallDelta(1, "g"), ArgumentsDelta(1, '{"a": 1}')),
    ]
