"""Which JSON Schemas can be compiled: known keywords with values of the right kind, within limits.

A keyword that should have an effect on the answer and would have none is refused by name: nothing is ignored
in silence. What keywords mean together is the compiler's business (grammar.py). Runs in the engine process.
"""

import dataclasses
import enum
from collections.abc import Iterator
from typing import Any

from octavo.core.errors import InvalidRequestError

MAX_NESTING = 128  # of arrays and objects in the schema's own JSON
MAX_PROPERTIES = 1000  # named in the whole schema
MAX_ENUM_VALUES = 5000  # in the whole schema
MAX_BRANCHES = 500  # of anyOf, oneOf and allOf together
MAX_PATTERN_LENGTH = 4096  # characters
MAX_MULTIPLE_OF_DIGITS = 4  # significant ones: the automaton has as many states as the number says

MAX_PLACE_LENGTH = 200  # characters of a place in the schema, in an error

FORMATS = ("date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")


class Kind(enum.Enum):
    """What a keyword's value is."""

    ANY = "anything"
    TEXT = "a string"
    FORMAT = f"one of {', '.join(FORMATS)}"
    PATTERN = f"a regular expression of at most {MAX_PATTERN_LENGTH} characters"
    COUNT = "an integer, 0 to 4294967295"
    NUMBER = "a number"
    FACTOR = f"a number above 0 of at most {MAX_MULTIPLE_OF_DIGITS} significant digits"
    TYPE = "a string or an array of strings"
    NAMES = "an array of strings"
    VALUES = "an array"
    SCHEMA = "a schema"
    SCHEMAS = "an array of schemas"
    SCHEMA_OR_SCHEMAS = "a schema or an array of schemas"
    SCHEMA_BY_NAME = "an object of schemas"


KEYWORDS = {
    "type": Kind.TYPE,
    "enum": Kind.VALUES,
    "const": Kind.ANY,
    "anyOf": Kind.SCHEMAS,
    "oneOf": Kind.SCHEMAS,
    "allOf": Kind.SCHEMAS,
    "$ref": Kind.TEXT,
    "$defs": Kind.SCHEMA_BY_NAME,
    "definitions": Kind.SCHEMA_BY_NAME,
    "properties": Kind.SCHEMA_BY_NAME,
    "patternProperties": Kind.SCHEMA_BY_NAME,
    "additionalProperties": Kind.SCHEMA,
    "required": Kind.NAMES,
    "minProperties": Kind.COUNT,
    "maxProperties": Kind.COUNT,
    "items": Kind.SCHEMA_OR_SCHEMAS,
    "prefixItems": Kind.SCHEMAS,
    "additionalItems": Kind.SCHEMA,
    "minItems": Kind.COUNT,
    "maxItems": Kind.COUNT,
    "minLength": Kind.COUNT,
    "maxLength": Kind.COUNT,
    "pattern": Kind.PATTERN,
    "format": Kind.FORMAT,
    "minimum": Kind.NUMBER,
    "maximum": Kind.NUMBER,
    "exclusiveMinimum": Kind.NUMBER,
    "exclusiveMaximum": Kind.NUMBER,
    "multipleOf": Kind.FACTOR,
}
ANNOTATIONS = frozenset((
    "$schema", "$id", "id", "$anchor", "$comment", "title", "description", "default", "examples",
    "deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType", "discriminator",
))  # fmt: skip
"""They say nothing of which values are valid."""


@dataclasses.dataclass(slots=True)
class _Counts:
    properties: int = 0
    values: int = 0
    branches: int = 0

    def add(self, keyword: str, value: Any) -> None:
        """Raises InvalidRequestError beyond a limit."""
        if keyword in ("properties", "patternProperties"):
            self.properties += len(value)
        elif keyword == "enum":
            self.values += len(value)
        elif keyword in ("anyOf", "oneOf", "allOf"):
            self.branches += len(value)
        for count, limit, what in (
            (self.properties, MAX_PROPERTIES, "properties"),
            (self.values, MAX_ENUM_VALUES, "enum values"),
            (self.branches, MAX_BRANCHES, "branches of anyOf, oneOf and allOf"),
        ):
            if count > limit:
                raise InvalidRequestError(f"The schema has more than {limit} {what}.")


def check_schema(schema: object) -> None:
    """Raises InvalidRequestError, naming the keyword and its place, for a schema that is not supported."""
    _check_nesting(schema)
    counts = _Counts()
    waiting = [("#", schema)]
    while waiting:
        place, schema = waiting.pop()
        if isinstance(schema, bool):
            continue
        if not isinstance(schema, dict):
            raise InvalidRequestError(f"The schema at {place} is not an object.")
        for keyword, value in schema.items():
            if keyword in ANNOTATIONS or (keyword.startswith("x-") and keyword != "x-guidance"):
                continue
            kind = KEYWORDS.get(keyword)
            if kind is None:
                raise InvalidRequestError(f"The keyword {keyword[:80]!r} at {place} is not supported.")
            if not _is_of_kind(value, kind):
                raise InvalidRequestError(
                    f"{keyword} at {place} is {repr(value)[:80]}; allowed: {kind.value}."
                )
            counts.add(keyword, value)
            for below, part in _parts(value, kind):
                waiting.append((f"{place}/{keyword}{below}"[:MAX_PLACE_LENGTH], part))


def _check_nesting(value: object) -> None:
    level = [value]
    for _ in range(MAX_NESTING):
        level = [part for whole in level for part in _members(whole)]
        if not level:
            return
    raise InvalidRequestError(f"The schema is nested too deeply; allowed: {MAX_NESTING} levels of JSON.")


def _members(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _is_of_kind(value: Any, kind: Kind) -> bool:
    match kind:
        case Kind.TEXT:
            return isinstance(value, str)
        case Kind.FORMAT:
            return value in FORMATS
        case Kind.PATTERN:
            return isinstance(value, str) and len(value) <= MAX_PATTERN_LENGTH
        case Kind.COUNT:
            return type(value) is int and 0 <= value < 2**32
        case Kind.NUMBER:
            return _is_number(value)
        case Kind.FACTOR:
            return _is_number(value) and value > 0 and _num_digits(value) <= MAX_MULTIPLE_OF_DIGITS
        case Kind.TYPE:
            return isinstance(value, str) or _is_list_of(value, str)
        case Kind.NAMES:
            return _is_list_of(value, str)
        case Kind.VALUES | Kind.SCHEMAS:
            return isinstance(value, list)
        case Kind.SCHEMA:
            return isinstance(value, dict | bool)
        case Kind.SCHEMA_OR_SCHEMAS:
            return isinstance(value, dict | bool | list)
        case Kind.SCHEMA_BY_NAME:
            return isinstance(value, dict)
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_list_of(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _num_digits(value: float) -> int:
    """Of the shortest decimal that is this number: 0.25 has 2, 1000 has 1."""
    return len(repr(value).partition("e")[0].replace(".", "").strip("0"))


def _parts(value: Any, kind: Kind) -> Iterator[tuple[str, object]]:
    """The schemas in a keyword's value, and where in it they stand."""
    if kind is Kind.SCHEMA_BY_NAME:
        yield from ((f"/{name[:80]}", part) for name, part in value.items())
    elif kind in (Kind.SCHEMAS, Kind.SCHEMA_OR_SCHEMAS) and isinstance(value, list):
        yield from ((f"/{index}", part) for index, part in enumerate(value))
    elif kind in (Kind.SCHEMA, Kind.SCHEMA_OR_SCHEMAS):
        yield "", value
