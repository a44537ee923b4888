"""Compiles hostile grammars, with bounded memory and time, and follows them a while: run as a process.

Prints a line for each: its name, and what became of it.
"""

import json
import random
import resource
from typing import Any

from octavo.core.errors import InvalidRequestError
from octavo.core.grammar_spec import GrammarKind
from tests.decoding.byte_grammars import allowed, compiled

MAX_MEMORY = 3 << 30  # of address space: NumPy and the threads' stacks take most of it
MAX_CPU_SECONDS = 100

TWO_WAYS = [
    {"anyOf": [{"type": "object", "properties": {f"a{i}_{j}": {"type": "null"}}} for j in range(2)]}
    for i in range(16)
]
DOUBLING = {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(30)}
BRANCHING = {
    f"a{i}": {"type": "object", "properties": {side: {"$ref": f"#/$defs/a{i + 1}"} for side in "lr"}}
    for i in range(40)
}

REGEXES = {
    "nested counts": "((a{1,100}){1,100}){1,100}",
    "counted words": r"(\w{1,300}){1,300}",
    "a long count": r"\w{1,60000}",
    "a count beyond counting": "a{1,4000000000}",
    "optional letters": "(a?){5000}a{5000}",
    "exponential automaton": "(a|b)*a(a|b){200}",
    "many wild cards": "(.*a.*b){20}",
    "nested stars": "(x+x+)+y",
    "parentheses": "(" * 4000 + "a" + ")" * 4000,
    "open parentheses": "(" * 8000,
    "alternatives": "|".join(f"w{i}" for i in range(1200)),
    "look-around": "(?=a)" * 100,
    "large classes": r"[\w\p{L}\p{Han}]{500}x",
}
SCHEMAS: dict[str, Any] = {
    "patterns that meet": {"allOf": [{"type": "string", "pattern": f"^.*{c}.*$"} for c in "abcdefghijkl"]},
    "a pattern far in": {"type": "string", "pattern": ".{0,300}a.{0,300}b"},
    "two ways sixteen times": {"allOf": TWO_WAYS},
    "two ways nine times": {"allOf": TWO_WAYS[:9]},
    "doubling references": {"$ref": "#/$defs/a0", "$defs": {**DOUBLING, "a30": {"type": "null"}}},
    "branching references": {"$ref": "#/$defs/a0", "$defs": {**BRANCHING, "a40": {"type": "null"}}},
    "itself": {"$ref": "#"},
    "each other": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "endless": {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    "a large factor": {"type": "integer", "multipleOf": 9973},
    "a thousand properties": {
        "type": "object",
        "properties": {f"p{i}": {"type": "string"} for i in range(1000)},
    },
    "many items": {"type": "array", "items": {"type": "array", "minItems": 9999}, "minItems": 2**31},
    "a long string": {"type": "string", "minLength": 2**31},
    "deep": json.loads('{"items":' * 120 + "{}" + "}" * 120),
}
LARKS = {
    "ambiguous": 'start: e\ne: e e | "a" | "a" e | e "a"',
    "left recursion": "start: a\n"
    + "\n".join(f'a{i or ""}: a{i + 1} "x" | "y"' for i in range(1500))
    + '\na1500: "z"',
    "nested groups": "start: " + "(" * 5000 + '"a"' + ")" * 5000,
    "empty repeated": 'start: (""*)*',
}


def outcome(kind: str, text: str) -> str:
    try:
        state = compiled(kind, text).start()
    except InvalidRequestError:
        return "refused"
    rng = random.Random(1)
    for _ in range(40):
        tokens = allowed(state)
        if not tokens:
            return "failed" if state.failure else "stuck"
        state.advance([rng.choice(tokens)])
        if state.is_finished:
            break
    return "followed"


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS))
    bombs = [
        *((GrammarKind.REGEX, name, text) for name, text in REGEXES.items()),
        *((GrammarKind.JSON_SCHEMA, name, json.dumps(schema)) for name, schema in SCHEMAS.items()),
        *((GrammarKind.LARK, name, text) for name, text in LARKS.items()),
    ]
    for kind, name, text in bombs:
        print(f"{name}: {outcome(kind, text)}", flush=True)


if __name__ == "__main__":
    main()
