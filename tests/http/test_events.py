"""No reader of events sees a line end in the middle of one."""

import json

import pytest

from octavo.http.errors import ErrorAnswer
from octavo.http.events import on_one_line

EVERY = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x11000))))


@pytest.mark.parametrize("text", ["plain", "é 日本 🙂", "a\u2028b\u2029c\x85d", EVERY])
def test_json_stays_what_it_was_and_is_one_line(text: str) -> None:
    rendered = json.dumps({"text": text}, ensure_ascii=False).encode()
    line = on_one_line(rendered)
    assert json.loads(line) == {"text": text}
    assert len(line.decode().splitlines()) == 1


def test_what_needs_no_escape_is_not_touched() -> None:
    for text in (b'{"a":"b"}', '{"a":"日本"}'.encode()):
        assert on_one_line(text) == text


def test_an_error_is_one_line_as_well() -> None:
    assert ErrorAnswer("invalid_value", "a\u2028b").event.decode().splitlines()[1:] == [""]
