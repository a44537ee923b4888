"""Tools are checked, each limit at its edge; what may be called follows from the choice."""

from typing import Any

import msgspec
import pytest

from octavo.core.errors import InvalidRequestError
from octavo.server.tools import (
    MAX_DEPTH,
    MAX_DESCRIPTION_CHARACTERS,
    MAX_NAME_CHARACTERS,
    MAX_PARAMETERS_BYTES,
    MAX_TOOLS,
    Tool,
    ToolChoice,
    ToolUse,
    tool_use,
)


def function(name: str = "f", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **fields}}


def use(*tools: dict[str, Any], choice: Any = None, is_parallel: bool | None = None) -> ToolUse:
    return tool_use(
        msgspec.convert(tools, list[Tool]),
        msgspec.convert(choice, str | ToolChoice | None),  # type: ignore[call-overload]
        is_parallel,
    )


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def of_size(num_bytes: int) -> dict[str, Any]:
    return {"a": "x" * (num_bytes - len('{"a":""}'))}


def test_the_model_is_told_what_the_client_sent() -> None:
    described = {"description": "d", "parameters": {"type": "object"}}
    found = use(function("f", strict=False, **described), function("g"))
    assert list(found.schemas) == ["f", "g"] and found.is_parallel
    assert not found.is_forced and not found.is_exact
    assert found.shown == (
        {"type": "function", "function": {"name": "f", **described}},
        function("g", parameters={"type": "object", "properties": {}}),
    )


def allowed(*names: str, mode: str = "auto") -> dict[str, Any]:
    tools = [function(name) for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def test_the_choice_says_what_may_be_called() -> None:
    tools = function("f"), function("g")
    assert use(*tools, choice="auto") == use(*tools)
    assert use(*tools, choice="none") == ToolUse()
    some = use(*tools, choice=allowed("g"))
    assert (list(some.schemas), some.shown, some.is_forced) == (["g"], use(*tools).shown, False)
    assert use(*tools, is_parallel=False).is_parallel is False
    assert use() == use(choice="auto") == use(choice="none") == ToolUse()


def test_the_choice_says_what_must_be_called() -> None:
    tools = function("f"), function("g")
    for choice, names, is_parallel in (
        ("required", ["f", "g"], True),
        (function("g"), ["g"], False),
        (allowed("g", mode="required"), ["g"], True),
    ):
        found = use(*tools, choice=choice)
        assert (list(found.schemas), found.is_parallel) == (names, is_parallel)
        assert found.is_forced and found.is_exact and found.shown == use(*tools).shown


def test_arguments_are_held_to_the_schemas_of_strict_tools_and_of_forced_ones() -> None:
    schema, any_object = {"type": "object", "required": ["a"]}, {"type": "object"}
    nothing = {"type": "object", "properties": {}, "additionalProperties": False}
    tools = (
        function("a", strict=True, parameters=schema),
        function("b", strict=False, parameters=schema),
        function("c", parameters=schema),
        function("d", strict=True),
    )
    free, forced = use(*tools), use(*tools, choice="required")
    assert free.is_exact and not free.is_forced
    assert free.schemas == {"a": schema, "b": any_object, "c": any_object, "d": nothing}
    assert forced.schemas == {"a": schema, "b": any_object, "c": schema, "d": nothing}
    assert not use(*tools, choice=allowed("b", "c")).is_exact


AT_THE_LIMIT = (
    [function(f"f{number}") for number in range(MAX_TOOLS)],
    [function("f" * MAX_NAME_CHARACTERS)],
    [function("aZ09_-")],
    [function(description="x" * MAX_DESCRIPTION_CHARACTERS)],
    [function(parameters=of_size(MAX_PARAMETERS_BYTES))],
    [function(parameters=nested(MAX_DEPTH))],
)


@pytest.mark.parametrize("tools", AT_THE_LIMIT)
def test_a_limit_is_allowed(tools: list[dict[str, Any]]) -> None:
    assert len(use(*tools).schemas) == len(tools)


def test_a_type_that_is_left_out_is_function() -> None:
    named: Any = {"function": {"name": "f"}}
    assert use({"function": {"name": "f"}}, choice=named) == use(
        function(), choice={"type": "function", **named}
    )


REFUSED: tuple[tuple[list[dict[str, Any]], Any, str], ...] = (
    ([function(f"f{number}") for number in range(MAX_TOOLS + 1)], None, "tools"),
    ([function("f" * (MAX_NAME_CHARACTERS + 1))], None, "tools[0].function.name"),
    *(([function(name)], None, "tools[0].function.name") for name in ("", "a b", "é", "f\n", "a.b")),
    ([function(), function()], None, "tools[1].function.name"),
    ([function(description="x" * (MAX_DESCRIPTION_CHARACTERS + 1))], None, "tools[0].function.description"),
    ([function(parameters=of_size(MAX_PARAMETERS_BYTES + 1))], None, "tools[0].function.parameters"),
    ([function(parameters=nested(MAX_DEPTH + 1))], None, "tools[0].function.parameters"),
    ([function(parameters={"type": "string"})], None, "tools[0].function.parameters.type"),
    ([function(parameters={"type": ["object"]})], None, "tools[0].function.parameters.type"),
    ([{"type": "custom"}], None, "tools[0].type"),
    ([{"type": "function"}], None, "tools[0].type"),
    *(
        ([function()], choice, "tool_choice")
        for choice in (
            *("f", "", "Required", function("g"), allowed("g"), {"type": "function"}),
            {"type": "allowed_tools"},
            {**allowed("f"), "function": {"name": "f"}},
        )
    ),
    *(
        ([function()], choice, "tool_choice.allowed_tools")
        for choice in (allowed(), allowed("f", mode="none"))
    ),
    ([], "required", "tool_choice"),
)


@pytest.mark.parametrize(
    ("tools", "choice", "param"), REFUSED, ids=[f"{i}-{r[2]}" for i, r in enumerate(REFUSED)]
)
def test_what_is_wrong_is_named(tools: list[dict[str, Any]], choice: Any, param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        use(*tools, choice=choice)
    assert caught.value.param == param and len(str(caught.value)) < 200
