"""Messages become what a chat template takes."""

from typing import Any

import msgspec
import pytest

from octavo.core.errors import InvalidRequestError
from octavo.server.messages import ChatMessage, conversation

MAX_MODEL_LEN = 8


def read(*messages: dict[str, Any]) -> list[dict[str, str]]:
    return conversation(msgspec.convert(messages, list[ChatMessage]), MAX_MODEL_LEN)


def test_parts_become_one_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    read_back = read({"role": "system", "content": "s"}, {"role": "user", "content": parts})
    assert read_back == [{"role": "system", "content": "s"}, {"role": "user", "content": "ab"}]


def test_a_developer_is_what_templates_call_system() -> None:
    assert read({"role": "developer", "content": "s"}) == [{"role": "system", "content": "s"}]


def test_a_name_is_for_the_template() -> None:
    assert read({"role": "user", "content": "a", "name": "Eve"}) == [
        {"role": "user", "content": "a", "name": "Eve"}
    ]


def test_an_answer_can_be_sent_back_as_it_came() -> None:
    empty = dict.fromkeys(("refusal", "audio", "function_call", "tool_calls", "name"))
    assert read({"role": "assistant", "content": "a", "annotations": [], **empty}) == [
        {"role": "assistant", "content": "a"}
    ]
    assert read({"role": "assistant", "content": "{}", "parsed": {}})[0]["content"] == "{}"


def calling(arguments: str = "{}", **fields: Any) -> dict[str, Any]:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}, **fields}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


RESULT = {"role": "tool", "content": "r", "tool_call_id": "1"}


def test_calls_and_their_results() -> None:
    """Templates want arguments as an object, and a content."""
    assert read(calling('{"a": [1]}', index=0), RESULT) == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": [1]}}}
            ],
        },
        RESULT,
    ]


BROKEN = ("{", "[]", "1", '{"a": "\\ud800"}', "[" * 9_999)


@pytest.mark.parametrize(("written", "read_as"), (("", {}), (" ", {}), *((text, text) for text in BROKEN)))
def test_what_a_model_has_written_can_be_sent_back(written: str, read_as: object) -> None:
    message, _ = read(calling(written), RESULT)
    assert message["tool_calls"][0]["function"]["arguments"] == read_as


def test_reasoning_has_two_names() -> None:
    expected = [{"role": "assistant", "content": "", "reasoning_content": "r"}]
    assert read({"role": "assistant", "reasoning": "r"}) == expected
    assert read({"role": "assistant", "reasoning": "r", "reasoning_content": "r"}) == expected


@pytest.mark.parametrize(
    ("message", "param"),
    (
        ({"role": "user"}, "content"),
        ({"role": "assistant", "content": None, "tool_calls": []}, "content"),
        (RESULT, "tool_call_id"),
        ({"role": "tool", "content": "r"}, "tool_call_id"),
        ({**RESULT, "role": "user"}, "tool_call_id"),
        ({**calling(), "role": "user", "content": "a"}, "tool_calls"),
        ({"role": "user", "content": "a", "reasoning": "r"}, "reasoning"),
        ({"role": "user", "content": "a", "reasoning_content": "r"}, "reasoning_content"),
        ({"role": "assistant", "reasoning": "r", "reasoning_content": "s"}, "reasoning"),
        (calling(type="custom"), "tool_calls[0].type"),
        (calling('{"a":' * 65 + "1" + "}" * 65), "tool_calls[0].function.arguments"),
    ),
)
def test_what_does_not_fit_is_named(message: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(message)
    assert caught.value.param == f"messages[0].{param}"


@pytest.mark.parametrize(
    ("message", "param"),
    (
        ({"role": "robot", "content": "a"}, "messages[0].role"),
        ({"role": "user", "content": []}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "messages[0].content[0].type"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text"),
        (
            {"role": "user", "content": [{"type": "text", "text": "a", "image_url": {"url": "b"}}]},
            "messages[0].content[0].image_url",
        ),
    ),
)
def test_what_we_lack_is_named(message: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(message)
    assert caught.value.param == param


def test_no_messages_are_no_conversation() -> None:
    with pytest.raises(InvalidRequestError, match="at least one"):
        read()


@pytest.mark.parametrize("kind", ("messages", "parts", "calls"))
def test_there_are_no_more_of_them_than_tokens_in_the_context(kind: str) -> None:
    def several(count: int) -> list[dict[str, Any]]:
        if kind == "messages":
            return [{"role": "user", "content": "a"}] * count
        if kind == "parts":
            return [{"role": "user", "content": [{"type": "text", "text": "a"}] * (count - 1)}]
        return [{"role": "assistant", "tool_calls": calling()["tool_calls"] * (count - 1)}]

    assert read(*several(MAX_MODEL_LEN))
    with pytest.raises(InvalidRequestError, match=f"messages holds {MAX_MODEL_LEN + 1} ") as caught:
        read(*several(MAX_MODEL_LEN + 1))
    assert (caught.value.param, caught.value.code) == ("messages", "context_length_exceeded")
