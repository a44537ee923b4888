"""A call's name and arguments, whatever the order, the white space and the cuts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo.text.json_call import CallScanner, ValueScanner
from tests.text.tiny_text import chunks

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text('a"\\{}[],: é', max_size=6),
    lambda items: (
        st.lists(items, max_size=3) | st.dictionaries(st.text('k"}', max_size=3), items, max_size=3)
    ),
    max_leaves=8,
)


@given(json_values, st.sampled_from([None, 2]), st.lists(st.integers(0, 60)))
def test_a_value_ends_where_it_ends(value: object, indent: int | None, cuts: list[int]) -> None:
    written = json.dumps(value, indent=indent, ensure_ascii=False)
    scanner, num_taken = ValueScanner(), 0
    for piece in chunks(f"{written}, tail", cuts):
        if not scanner.is_complete:
            num_taken += scanner.feed(piece, 0)
    assert scanner.is_complete and num_taken == len(written)


def scan(text: str) -> tuple[CallScanner, int]:
    scanner = CallScanner({"f"})
    return scanner, scanner.feed(text, 0)


@pytest.mark.parametrize(
    ("text", "arguments"),
    (
        ('"name": "f", "arguments": {"a": [1, "}"]}}', '{"a": [1, "}"]}'),
        ('"name":"f","parameters":{}}', "{}"),
        (' "arguments" : { } , "id" : 12.5 , "name" : "f" } ', "{ }"),
        ('"name": "f"}', "{}"),
        ('"name": "f",}', "{}"),
        ('"name": "f", "arguments": null}', "{}"),
        ('"name": "f", "arguments": "{\\"a\\": 1}"}', '{"a": 1}'),
        ('"name": "f", "arguments": {"a": 01, b}}', '{"a": 01, b}'),
        ('"name": "f", "arguments": {}, "arguments": {"b": 1}}', "{}"),
        ('"na\\u006de": "\\u0066", "id": {"name": "g"}}', "{}"),
    ),
)
def test_a_call_is_read(text: str, arguments: str) -> None:
    scanner, end = scan(text)
    assert scanner.is_complete and not scanner.is_broken
    assert (scanner.name, "".join(scanner.arguments)) == ("f", arguments)
    assert text[end:].strip() == ""


@pytest.mark.parametrize(
    "text",
    (
        *(
            "}",
            '"name": "f", "x": 1}',
            '"name": "g"}',
            '"name": 5}',
            '"name": ["f"]}',
            '"name": "f" "arguments"',
            '"name" "f"',
            "name: f",
        ),
        *('"name": "f", "arguments": [1]}', '"name": "f", "arguments": 5}', '"name": "\\ud800"}'),
        *(
            '"name": "f", "arguments": "\\ud800"}',
            '"name": "f", "arguments": "\n"}',
            ",",
            '"name": }',
            "\u00a0}",
        ),
    ),
)
def test_what_is_no_call_is_told(text: str) -> None:
    scanner, _ = scan(text)
    assert scanner.is_broken and not scanner.is_complete


def test_the_name_waits_for_the_arguments() -> None:
    scanner = CallScanner({"f"})
    scanner.feed('"name": "f", "arguments": ', 0)
    assert scanner.name is None
    scanner.feed("{", 0)
    assert (scanner.name, scanner.arguments) == ("f", ["{"])
