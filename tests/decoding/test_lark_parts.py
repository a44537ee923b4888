"""Pieces of grammars: what is refused, and how texts are spelled."""

import pytest

from octavo.core.errors import InvalidRequestError
from octavo.decoding.lark_parts import MAX_WHITESPACE_LENGTH, json_value, literal, literal_parts, parse, regex


def test_the_limit_of_white_space() -> None:
    assert '"whitespace_flexible": true' in json_value({}, " " * MAX_WHITESPACE_LENGTH)
    assert '"whitespace_flexible": false' in json_value({}, "") and "separator" not in json_value({}, "")
    with pytest.raises(InvalidRequestError, match="has 257 characters; allowed: 256"):
        json_value({}, " " * (MAX_WHITESPACE_LENGTH + 1))


@pytest.mark.parametrize(
    ("pattern", "message"),
    (("", "has 0 characters; allowed: 1 to 8192."), ("a\\", "a backslash"), ("\\\\\\", "a backslash")),
)
def test_regular_expressions_that_are_refused(pattern: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        regex(pattern)


def test_a_trailing_escaped_backslash_is_none() -> None:
    assert regex(r"a\\\\") == r"/a\\\\/"


def test_names_of_control_tokens_stand_for_these() -> None:
    control_ids = {"<|a|>": 7, "<|a|>b": 8}
    assert literal_parts("x<|a|>b<|a|>", control_ids) == ["/x/", "<[8]>", "<[7]>"]
    assert literal("x <|a|", {}) == r"/x\x{20}\x{3C}\x{7C}a\x{7C}/" and literal("", control_ids) == ""


def test_what_is_no_json() -> None:
    with pytest.raises(InvalidRequestError, match="It is not JSON"):
        parse("[" * 100_000)
