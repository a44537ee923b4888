"""Messages become what a chat template takes."""

from typing import Any

import msgspec
import pytest

from octavo.core.errors import InvalidRequestError
from octavo.server.messages import ChatMessage, conversation


def read(*messages: dict[str, Any]) -> list[dict[str, str]]:
    return conversation(msgspec.convert(messages, list[ChatMessage]))


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


@pytest.mark.parametrize(
    ("message", "param"),
    (
        ({"role": "robot", "content": "a"}, "messages[0].role"),
        ({"role": "user", "content": []}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "messages[0].content[0].type"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text"),
    ),
)
def test_what_we_lack_is_named(message: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(message)
    assert caught.value.param == param


def test_no_messages_are_no_conversation() -> None:
    with pytest.raises(InvalidRequestError, match="at least one"):
        read()
