"""Pieces of Lark that grammars of every kind are made of, within limits. Runs in the engine process."""

import json
import re
from collections.abc import Mapping
from typing import Any

from octavo.core.errors import InvalidRequestError
from octavo.decoding.json_schema import check_schema

MAX_REGEX_LENGTH = 8192  # characters
MAX_WHITESPACE_LENGTH = 256  # characters of GrammarSpec.whitespace

ANY_TEXT = r"/(.|\n)*/"


def encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidRequestError("The grammar holds half a surrogate pair, which is not text.") from None


def parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"It is not JSON: {str(error)[:200]}.") from None


def json_value(schema: Mapping[str, Any], whitespace: str | None) -> str:
    check_schema(schema)
    options: dict[str, object] = {"coerce_one_of": False, "lenient": False, "whitespace_flexible": False}
    if whitespace is None:
        options |= {"item_separator": ", ?", "key_separator": ": ?"}
    elif len(whitespace) > MAX_WHITESPACE_LENGTH:
        raise InvalidRequestError(
            f"The pattern of white space has {len(whitespace)} characters; allowed: {MAX_WHITESPACE_LENGTH}."
        )
    elif whitespace:
        options |= {"whitespace_flexible": True, "whitespace_pattern": whitespace}
    return "%json " + json.dumps({**schema, "x-guidance": options})


def regex(pattern: str) -> str:
    import llguidance

    if not 1 <= len(pattern) <= MAX_REGEX_LENGTH:
        raise InvalidRequestError(
            f"The regular expression has {len(pattern)} characters; allowed: 1 to {MAX_REGEX_LENGTH}."
        )
    if re.fullmatch(r"(?s:\\.|[^\\])*", pattern) is None:
        raise InvalidRequestError("The regular expression ends with a backslash.")
    return f"/{llguidance.regex_to_lark(pattern, 'd')}/"  # digits are 0 to 9


def quoted(text: str) -> str:
    """As a regular expression: its escapes can spell every character."""
    encoded(text)
    spelled = (c if c.isascii() and c.isalnum() else f"\\x{{{ord(c):X}}}" for c in text)
    return f"/{''.join(spelled)}/"


def literal(text: str, control_ids: Mapping[str, int]) -> str:
    """Text in which names of control tokens stand for these."""
    return " ".join(literal_parts(text, control_ids))


def literal_parts(text: str, control_ids: Mapping[str, int]) -> list[str]:
    """The same part by part."""
    names = "|".join(map(re.escape, sorted(control_ids, key=len, reverse=True)))
    parts = re.split(f"({names})", text) if names else [text]
    return [control(control_ids[part]) if part in control_ids else quoted(part) for part in parts if part]


def control(token_id: int) -> str:
    return f"<[{token_id}]>"
