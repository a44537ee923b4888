"""Which schemas are taken: every limit at its value and one above, every keyword that would be ignored."""

from typing import Any

import pytest

from octavo.core.errors import InvalidRequestError
from octavo.decoding.json_schema import (
    FORMATS,
    KEYWORDS,
    MAX_BRANCHES,
    MAX_ENUM_VALUES,
    MAX_NESTING,
    MAX_PATTERN_LENGTH,
    MAX_PROPERTIES,
    check_schema,
)


def refusal(schema: object) -> str:
    with pytest.raises(InvalidRequestError) as refused:
        check_schema(schema)
    return str(refused.value)


def nested(depth: int) -> dict[str, Any]:
    """So many levels of JSON."""
    schema: dict[str, Any] = {}
    for _ in range(depth - 1):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "string", "format": "date", "minLength": 0, "maxLength": 2**32 - 1, "pattern": "^a"},
        {"type": ["integer", "null"], "minimum": -1.5, "exclusiveMaximum": 3, "multipleOf": 0.25},
        {"type": "array", "prefixItems": [{}, True], "items": False, "minItems": 1, "maxItems": 2},
        {"items": [{"type": "null"}], "additionalItems": {"type": "null"}},
        {"properties": {"type": {"type": "null"}, "not": {}}, "required": ["not"], "minProperties": 1},
        {"patternProperties": {"^x": {}}, "additionalProperties": {}, "maxProperties": 2},
        {"$ref": "#/$defs/a", "$defs": {"a": {"const": {"not": 1}}}, "definitions": {}},
        {"enum": [{"if": 1}], "default": {"not": {}}, "title": "T", "description": "D", "examples": [1]},
        {"oneOf": [{}], "anyOf": [{}], "allOf": [{}], "discriminator": {"propertyName": "a"}, "x-order": 1},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "a", "$comment": "c"},
        *({"format": name} for name in FORMATS),
    ],
)
def test_what_is_supported(schema: dict[str, Any]) -> None:
    check_schema(schema)


@pytest.mark.parametrize(
    "keyword",
    [
        "not", "if", "then", "else", "contains", "minContains", "maxContains", "uniqueItems", "propertyNames",
        "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties", "unevaluatedItems",
        "$dynamicRef", "$recursiveRef", "nullable", "x-guidance", "minimun", "propertyOrdering",
    ],
)  # fmt: skip
def test_a_keyword_that_would_be_ignored_is_named(keyword: str) -> None:
    schema = {"properties": {"a": {"items": [{}, {keyword: False}]}}}
    assert refusal(schema) == f"The keyword '{keyword}' at #/properties/a/items/1 is not supported."


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("type", 1), ("type", [1]), ("enum", "a"), ("anyOf", {}), ("oneOf", "x"), ("$ref", 1), ("$defs", []),
        ("properties", []), ("additionalProperties", "no"), ("required", True), ("required", [1]),
        ("minProperties", -1), ("items", 1), ("prefixItems", {}), ("minItems", 1.5), ("maxItems", True),
        ("minLength", 2**32), ("pattern", 1), ("format", "regex"), ("format", "int32"), ("minimum", "1"),
        ("exclusiveMinimum", True), ("multipleOf", 0), ("multipleOf", -2), ("multipleOf", 12345),
        ("multipleOf", 0.12345),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_refused(keyword: str, value: object) -> None:
    assert refusal({keyword: value}) == f"{keyword} at # is {value!r}; allowed: {KEYWORDS[keyword].value}."


@pytest.mark.parametrize("value", [1234, 120000, 0.001, 99.99, 1e-7, 1e30])
def test_a_factor_may_have_four_digits(value: float) -> None:
    check_schema({"multipleOf": value})


def properties(count: int) -> dict[str, Any]:
    return {"properties": {f"p{i}": {} for i in range(count)}}


@pytest.mark.parametrize(
    ("at_the_limit", "beyond", "what"),
    [
        ({"pattern": "a" * MAX_PATTERN_LENGTH}, {"pattern": "a" * (MAX_PATTERN_LENGTH + 1)}, "pattern at #"),
        (properties(MAX_PROPERTIES), properties(MAX_PROPERTIES + 1), "more than 1000 properties"),
        (
            {"items": properties(MAX_PROPERTIES - 1), "patternProperties": {"a": {}}},
            {"items": properties(MAX_PROPERTIES - 1), "patternProperties": {"a": {}, "b": {}}},
            "more than 1000 properties",
        ),
        (
            {"enum": [0] * MAX_ENUM_VALUES},
            {"enum": [0] * (MAX_ENUM_VALUES + 1)},
            "5000 enum values",
        ),
        ({"anyOf": [{}] * MAX_BRANCHES}, {"anyOf": [{}] * (MAX_BRANCHES + 1)}, "more than 500 branches"),
        (nested(MAX_NESTING), nested(MAX_NESTING + 1), "nested too deeply"),
    ],
)
def test_limits(at_the_limit: dict[str, Any], beyond: dict[str, Any], what: str) -> None:
    check_schema(at_the_limit)
    assert what in refusal(beyond)


@pytest.mark.parametrize("schema", [1, "a", None, [], {"properties": {"a": 1}}, {"anyOf": [1]}])
def test_what_is_no_schema_is_refused(schema: object) -> None:
    assert "is not an object" in refusal(schema)
