"""Rows as hostile_rows.py has them, of what says how an answer must look: schemas, grammars and tools."""

import json
from typing import Any

from tests.engine.sim_byte_engine import MAX_MODEL_LEN, VOCAB_SIZE
from tests.server.hostile_rows import CHAT, Case, bad_body, each, fields


def tool(name: object, **given: object) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **given}}


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def schema(value: object) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": value}}}


_CONST = {"type": "const_string", "value": "a"}
_NESTED = {"type": "tag", "begin": "<a>", "content": {"type": "any_text"}, "end": ["</a>", "<b>"]}


def called(arguments: object, id: object = "c") -> list[dict[str, Any]]:
    calls = [{"id": id, "type": "function", "function": {"name": "a", "arguments": arguments}}]
    return [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": calls}]


CALLS = [
    *(called(arguments) for arguments in (5, nested(70), json.dumps(nested(70)))),
    called("{}", id=5),
    [*called("{}"), {"role": "tool", "content": "a"}],
    [*called("{}"), {"role": "tool", "tool_call_id": "another", "content": "a"}],
]


_WRONG = ("", [], 5, nested(500), {"type": "nonsense"}, {"pattern": "("}, {"enum": list(range(20_000))})
_ELSEWHERE = ("http://169.254.169.254/x", "file:///etc/passwd", "#/nowhere")
_MANY = [schema({"type": "object", "properties": {f"p{number}": {}}}) for number in range(100)]
_OPEN = (200, 400)  # the compiler may take it or not; it answers


def bodies(path: str, base: dict[str, Any], *values: dict[str, Any]) -> list[Case]:
    """Of an endpoint that does not stream; each must be refused."""
    return [
        bad_body(f"{path} {value!r:.100}", json.dumps({"model": "tiny", **base, **value}).encode(), path=path)
        for value in values
    ]


PROMPT_ROWS: dict[str, list[Case]] = {
    "B-22 embeddings": bodies(
        "/v1/embeddings",
        {"input": "a"},
        *({"input": value} for value in ("", [], [""], [[]], None, 5, ["a", 1], [[-1]], [[VOCAB_SIZE]], {})),
        *({"input": "a" * length} for length in (MAX_MODEL_LEN + 1, 500_000)),
        *({"dimensions": value} for value in (0, -1, 10**9, "5", 1.5)),
        *({name: 5} for name in ("encoding_format", "pooling", "normalize", "zebra")),
    ),
    "B-22 scores and rankings": [
        *bodies(
            "/v1/score",
            {"text_1": "a", "text_2": "b"},
            *({"text_1": value} for value in ([], 5, {}, ["a", "b", "c"] * 2000)),
            {"text_1": ["a", "b"], "text_2": ["a", "b", "c"]},
            {"queries": "a"},
        ),
        *bodies(
            "/v1/rerank",
            {"query": "a", "documents": ["b"]},
            *({"documents": value} for value in ([], "b", [5], [{}], [{"text": 5}], ["b"] * 5000)),
            *({"top_n": value} for value in (0, -1, "1")),
            {"query": 5},
        ),
    ],
}

SHAPE_ROWS: dict[str, list[Case]] = {
    "B-34 schemas": [
        *each("response_format", "", {}, 5, {"type": "x"}, {"type": "json_schema"}),
        *fields(CHAT, *map(schema, _WRONG)),
        *fields(CHAT, *(schema({"$ref": place}) for place in _ELSEWHERE)),
        *fields(CHAT, schema({"properties": {f"p{number}": {} for number in range(10_000)}})),
        *fields(CHAT, schema({"$ref": "#"}), schema({"$defs": {"a": {"$ref": "#/$defs/a"}}}), statuses=_OPEN),
        *each("structured_outputs", {"json_object": False}, {"json": ""}, {}, 5),
        *each("structured_outputs", {"regex": "a", "choice": ["a"]}),
        *each("guided_choice", [], [""], 5, ["a"] * 5000),
        *fields(CHAT, schema({"type": "object"}), statuses=(200,)),
        *each("response_format", {"type": "json_object"}, statuses=(200,)),
    ],
    "B-35 regular expressions": [
        *each("guided_regex", "(", "[", "", "x" * 20_000, 5, "(?=a)b"),
        *each("guided_regex", "foo**", "(a+)+$", "^(|.*)$", "a{1,100000}", "(a|a)*" * 100, statuses=_OPEN),
        *each("guided_regex", "[a-c]{4}", statuses=(200,)),
    ],
    "B-36 grammars, good and bad": [
        *each("guided_grammar", "", "start: undefined", "root ::= (", "start: " + "(" * 100_000, "?", 5),
        *each("guided_grammar", "start: start", "root ::= root root", 'start: start "a"', statuses=_OPEN),
        *each("guided_grammar", 'start: "ab" | "cd"', 'root ::= "ab" | "cd"', statuses=(200,)),
        *each("guided_grammar", 'start: "a"\nstart: "b"', statuses=_OPEN),
    ],
    "B-37 many schemas": fields(CHAT, *_MANY, statuses=(200,)),
    "B-38 tools": [
        *each(
            "tools",
            *(5, [5], [{}], [{"type": "custom"}], [{"type": "function"}], [tool("a")] * 2),
            *([tool(name)] for name in ("", "a b", "x" * 65, "\x00", 5)),
            *([tool("a", parameters=value)] for value in (5, [], nested(200), {"a": "x" * 70_000})),
            [tool(f"t{number}") for number in range(1000)],
            [tool("a", description="x" * 20_000)],
            [{**tool("a"), "more": 1}],
        ),
        *fields(
            CHAT,
            *(
                {"tools": [tool("a")], "tool_choice": choice}
                for choice in (
                    *("never", 5, {}, {"type": "function"}, {"type": "x"}),
                    {"type": "function", "function": {"name": "absent"}},
                )
            ),
            {"tool_choice": {"type": "function", "function": {"name": "a"}}},
            {"tools": [tool("a")], "parallel_tool_calls": "no"},
        ),
        *fields(CHAT, *({"messages": messages} for messages in CALLS)),
        *fields(CHAT, *({"messages": called(text)} for text in ("", "{", "nonsense")), statuses=(200,)),
    ],
    "B-38 structural tags, budgets of reasoning": [
        *each("structural_tag", 5, "", {}, {"format": {}}, {"format": nested(500)}, {"structures": []}),
        *each("structural_tag", {"format": _CONST}, {"format": _NESTED}, statuses=(200,)),
        *each("structural_tag", {"format": {"type": "or", "elements": [_CONST] * 900}}, statuses=(200,)),
        *each("structural_tag", {"format": {"type": "or", "elements": [_CONST] * 5_000}}),
        *each("thinking_token_budget", 0, 5, -2, 2**40, 1.5, "5", [], True),
        *each("enable_thinking", 5, True, "no"),
        *each("reasoning_effort", 5, "low", "x" * 300),
        *each("thinking_budget", -1, statuses=(200,)),
        *each("enable_thinking", False, statuses=(200,)),
    ],
}
