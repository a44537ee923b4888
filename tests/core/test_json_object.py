import pytest

from octavo.core.errors import ModelFileError
from octavo.core.json_object import parse_json_object


def test_an_object_is_read() -> None:
    assert parse_json_object("c.json", b'{"a": [1, 2.5, null, "\xc3\xa9"]}') == {"a": [1, 2.5, None, "é"]}


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b'{"a": "\xff"}', "not UTF-8 text"),
        (b'{"a": ', "not valid JSON"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b'{"a": -Infinity}', "-Infinity is not a number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"a": 1, "b": 2, "b": 3}', "key 'b' appears twice"),
        (b'{"x": {"a": 1, "a": 1}}', "key 'a' appears twice"),
        (b'{"a": ' + b"[" * 200_000, "nested too deeply"),
        (b"[]", "not a JSON object"),
        (b"", "not valid JSON"),
    ],
)
def test_what_is_not_plain_json_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(ModelFileError, match=complaint) as caught:
        parse_json_object("c.json", data)
    assert str(caught.value).startswith("c.json: ")
    assert len(str(caught.value)) < 300
