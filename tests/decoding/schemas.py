"""More than 300 JSON schemas: each keyword alone and with others, made systematically, and some from life."""

import itertools
import json
import pathlib
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
Named = Iterator[tuple[str, Schema]]

INTEGER: Schema = {"type": "integer", "minimum": 0, "maximum": 9999}
WORD: Schema = {"type": "string", "pattern": "^[a-z]{2,10}$"}
TEXT: Schema = {"type": "string", "maxLength": 40}
FLAG: Schema = {"type": "boolean"}
SCALARS = {"integer": INTEGER, "word": WORD, "text": TEXT, "flag": FLAG, "null": {"type": "null"}}


def closed(properties: Schema, required: list[str] | None = None, **more: Any) -> Schema:
    """An object of these properties and no others; all are required unless said otherwise."""
    names = list(properties) if required is None else required
    return {
        "type": "object", "properties": properties, "required": names, "additionalProperties": False, **more,
    }  # fmt: skip


def strings() -> Named:
    yield "string", {"type": "string"}
    for low, high in ((0, 0), (0, 1), (1, 1), (3, 3), (0, 5), (2, 8), (10, 20), (30, 40)):
        yield f"string {low}-{high}", {"type": "string", "minLength": low, "maxLength": high}
    for pattern in (
        "^a$", "^[a-z]+$", "^[A-Z][a-z]{1,8}$", "^\\d{4}-\\d{2}$", "^(yes|no|maybe)$", "^#[0-9a-f]{6}$",
        "^[^\"]{2,6}$", "^\\w{3}\\s\\w{3}$", "^[\\u00e0-\\u00ff]{2}$", "^a.c$", "^(ab|cd){2,3}$", "foo",
        "^\\+?[0-9]{5,9}$", "^x{3,5}y*$",
        "^[a-z]{2,6}@[a-z]{2,6}\\.(com|org)$", "^\\\\$", "^/([a-z]+/){1,3}$",
    ):  # fmt: skip
        yield f"pattern {pattern}", {"type": "string", "pattern": pattern, "maxLength": 40}
    for name in (
        "date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri",
    ):  # fmt: skip
        yield f"format {name}", {"type": "string", "format": name, "maxLength": 40}


def numbers() -> Named:
    for low, high in ((0, 9), (1, 1), (-5, 5), (10, 99), (-200, -100), (0, 10**6), (17, 342), (-1, 10**9)):
        bounds = {"minimum": low, "maximum": high}
        yield f"integer {low} to {high}", {"type": "integer", **bounds}
        yield f"eighths {low} to {high}", {"type": "number", "multipleOf": 0.125, **bounds}
    for low, high in ((0, 1), (17, 342)):
        yield f"number {low} to {high}", {"type": "number", "minimum": low, "maximum": high}
    for low, high in ((0, 3), (-3, 0), (99, 101)):
        bounds = {"exclusiveMinimum": low, "exclusiveMaximum": high}
        yield f"integer between {low} and {high}", {"type": "integer", **bounds}
        yield f"halves between {low} and {high}", {"type": "number", "multipleOf": 0.5, **bounds}
    for factor in (2, 5, 7, 10, 25, 100):
        yield (
            f"multiple of {factor}",
            {"type": "integer", "minimum": 0, "maximum": 5000, "multipleOf": factor},
        )
    yield "multiple of a quarter", {"type": "number", "minimum": 0, "maximum": 100, "multipleOf": 0.25}
    yield "integer", {"type": "integer"}
    yield "integer at least 1", {"type": "integer", "minimum": 1}


def constants() -> Named:
    for value in (True, None, 0, -1.5, "", 'a "b" \\ \u00e9\n', [], [1, [2]], {}, {"a": {"b": None}}):
        yield f"const {value!r}", {"const": value}
    for values in (
        ["red", "green", "blue"],
        [1, 2, 3],
        [None, True, "x"],
        [{"a": 1}, [2]],
        ["one"],
        list(range(50)),
    ):
        yield f"enum {str(values)[:40]}", {"enum": values}
    yield "enum and type", {"type": "string", "enum": ["a", 1, "b"]}
    yield "flag", FLAG
    yield "null", {"type": "null"}


def arrays() -> Named:
    for name, item in SCALARS.items():
        for low, high in ((0, 0), (0, 3), (2, 2), (3, 6)):
            yield (
                f"{low} to {high} of {name}",
                {"type": "array", "items": item, "minItems": low, "maxItems": high},
            )
    yield "tuple", {"type": "array", "prefixItems": [INTEGER, WORD], "items": False, "minItems": 2}
    yield (
        "tuple and more",
        {"type": "array", "prefixItems": [WORD], "items": FLAG, "minItems": 1, "maxItems": 4},
    )
    yield "short tuple", {"type": "array", "prefixItems": [INTEGER, INTEGER, INTEGER], "items": False}
    yield "matrix", {
        "type": "array", "minItems": 2, "maxItems": 2,
        "items": {"type": "array", "items": INTEGER, "minItems": 2, "maxItems": 2},
    }  # fmt: skip
    yield "array of objects", {"type": "array", "items": closed({"a": INTEGER, "b": WORD}), "maxItems": 3}
    deep = INTEGER
    for depth in range(1, 6):
        deep = {"type": "array", "items": deep, "minItems": 1, "maxItems": 2}
        yield f"arrays {depth} deep", deep


def objects() -> Named:
    properties = {"id": INTEGER, "name": WORD, "note": TEXT, "done": FLAG}
    names = list(properties)
    for count in range(len(names) + 1):
        for required in itertools.combinations(names, count):
            yield f"requires {'+'.join(required)}", closed(properties, list(required))
    for number in (1, 5, 12):
        yield f"{number} flags", closed({f"flag_{i}": FLAG for i in range(number)})
    for name, item in SCALARS.items():
        some = {"type": "object", "additionalProperties": item, "maxProperties": 3}
        yield f"map of {name}", some
        yield f"at least one {name}", {**some, "minProperties": 1}
    yield "patterns of names", {
        "type": "object", "additionalProperties": False, "maxProperties": 3,
        "patternProperties": {"^x_[a-z]{1,5}$": INTEGER, "^y_[a-z]{1,5}$": FLAG},
    }  # fmt: skip
    yield (
        "odd names",
        closed({"": FLAG, "a b": FLAG, "\u00fc": FLAG, 'q"\\': FLAG, "$ref": FLAG, "type": FLAG}),
    )
    yield "empty", closed({})
    deep: Schema = closed({"leaf": INTEGER})
    for depth in range(1, 7):
        deep = closed({f"level_{depth}": deep})
        yield f"objects {depth} deep", deep


def unions() -> Named:
    for one, two in itertools.combinations(SCALARS, 2):
        yield f"{one} or {two}", {"anyOf": [SCALARS[one], SCALARS[two]]}
    for kinds in (["string", "null"], ["integer", "null"], ["boolean", "integer", "null"]):
        yield f"type {kinds}", {"type": kinds, "maxLength": 20, "minimum": 0, "maximum": 99}
    circle = closed({"kind": {"const": "circle"}, "radius": INTEGER})
    square = closed({"kind": {"const": "square"}, "side": INTEGER})
    yield "tagged, one of", {"oneOf": [circle, square]}
    yield "tagged, any of", {"anyOf": [circle, square]}
    yield "tagged, with a hint", {"oneOf": [circle, square], "discriminator": {"propertyName": "kind"}}
    yield "one of types", {"oneOf": [INTEGER, WORD, {"type": "array", "items": FLAG, "maxItems": 2}]}
    yield (
        "object or list",
        {"anyOf": [closed({"a": INTEGER}), {"type": "array", "items": INTEGER, "maxItems": 2}]},
    )
    yield "all of bounds", {"allOf": [{"type": "integer"}, {"minimum": 5}, {"maximum": 50}]}
    yield (
        "all of lengths",
        {"allOf": [{"type": "string", "minLength": 2}, {"maxLength": 6}, {"pattern": "^[a-z]+$"}]},
    )
    parts = [{"type": "object", "properties": {name: FLAG}, "required": [name]} for name in "ab"]
    yield "all of objects", {"allOf": [*parts, {"properties": {"c": FLAG}}, {"additionalProperties": True}]}
    yield (
        "nullable parts",
        closed({name: {"anyOf": [item, {"type": "null"}]} for name, item in SCALARS.items()}),
    )
    yield (
        "any of with siblings",
        {"type": "integer", "minimum": 0, "anyOf": [{"maximum": 5}, {"enum": [70, 80]}]},
    )


def references() -> Named:
    yield "ref", {"$ref": "#/$defs/word", "$defs": {"word": WORD}}
    yield "definitions", closed({"a": {"$ref": "#/definitions/w"}}, definitions={"w": WORD})
    yield (
        "ref twice",
        closed(
            {"from": {"$ref": "#/$defs/place"}, "to": {"$ref": "#/$defs/place"}},
            **{"$defs": {"place": closed({"city": WORD, "zip": {"type": "string", "pattern": "^\\d{5}$"}})}},
        ),
    )
    yield (
        "ref and bound",
        {"$ref": "#/$defs/n", "minimum": 5, "$defs": {"n": {"type": "integer", "maximum": 9}}},
    )
    yield (
        "chain of refs",
        {
            "$ref": "#/$defs/a",
            "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/c"}, "c": INTEGER},
        },
    )
    yield "ref by pointer", closed({"a": WORD, "b": {"$ref": "#/properties/a"}})
    yield (
        "linked list",
        closed(
            {"value": INTEGER, "next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}},
        ),
    )
    tree = closed(
        {"name": WORD, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2}}
    )
    yield "tree", {"$ref": "#/$defs/node", "$defs": {"node": tree}}
    operand = {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 99}, {"$ref": "#/$defs/sum"}]}
    yield "expression", {"$ref": "#/$defs/sum", "$defs": {"sum": closed({"left": operand, "right": operand})}}
    yield (
        "folder and file",
        {
            "$ref": "#/$defs/folder",
            "$defs": {
                "folder": closed(
                    {"files": {"type": "array", "items": {"$ref": "#/$defs/file"}, "maxItems": 2}}
                ),
                "file": closed(
                    {"name": WORD, "parent": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/folder"}]}}
                ),
            },
        },
    )


def crossed() -> Named:
    """Objects of every pair of kinds of value, required and optional."""
    kinds = {
        **SCALARS,
        "date": {"type": "string", "format": "date"},
        "color": {"enum": ["red", "green", "blue"]},
        "percent": {"type": "number", "minimum": 0, "maximum": 100, "multipleOf": 0.25},
        "id": {"type": "string", "format": "uuid"},
        "tags": {"type": "array", "items": WORD, "maxItems": 3},
        "point": closed({"x": INTEGER, "y": INTEGER}),
    }
    for one, two in itertools.combinations(kinds, 2):
        properties = {one: kinds[one], two: kinds[two]}
        yield f"{one} and {two}", closed(properties)
        yield f"{one}, perhaps {two}", closed(properties, [one])


def from_life() -> Named:
    yield from json.loads(pathlib.Path(__file__).with_name("schemas_from_life.json").read_text()).items()


def all_schemas() -> dict[str, Schema]:
    parts = (strings, numbers, constants, arrays, objects, unions, references, crossed, from_life)
    named = [item for part in parts for item in part()]
    schemas = dict(named)
    assert len(schemas) == len(named)
    return schemas
