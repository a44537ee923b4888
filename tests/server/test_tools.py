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
    assert found.names == {"f", "g"} and found.is_parallel
    assert found.shown == (
        {"type": "function", "function": {"name": "f", **described}},
        function("g", parameters={"type": "object", "properties": {}}),
    )


def allowed(*names: str, mode: str = "auto") -> dict[str, Any]:
    return {
        "type": "allowed_tools",
        "allowed_tools": {"mode": mode, "tools": [function(name) for name in names]},
    }


def test_the_choice_says_what_may_be_called() -> None:
    tools = function("f"), function("g")
    assert use(*tools, choice="auto") == use(*tools)
    assert use(*tools, choice="none") == ToolUse()
    some = use(*tools, choice=allowed("g"))
    assert (some.names, some.shown) == ({"g"}, use(*tools).shown)
    assert use(*tools, is_parallel=False).is_parallel is False
    assert use() == use(choice="auto") == use(choice="none") == ToolUse()


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
    assert len(use(*tools).names) == len(tools)


REFUSED: tuple[tuple[list[dict[str, Any]], Any, str], ...] = (
    ([function(f"f{number}") for number in range(MAX_TOOLS + 1)], None, "tools"),
    ([function("f" * (MAX_NAME_CHARACTERS + 1))], None, "tools[0].function.name"),
    *(([function(name)], None, "tools[0].function.name") for name in ("", "a b", "é", "f\n", "a.b")),
    ([function(), function()], None, "tools[1].function.name"),
    ([function(description="x" * (MAX_DESCRIPTION_CHARACTERS + 1))], None, "tools[0].function.description"),
    ([function(parameters=of_size(MAX_PARAMETERS_BYTES + 1))], None, "tools[0].function.parameters"),
    ([function(parameters=nested(MAX_DEPTH + 1))], None, "tools[0].function.parameters"),
    ([function(strict=True)], None, "tools[0].function.strict"),
    ([{"type": "custom"}], None, "tools[0].type"),
    ([{"type": "function"}], None, "tools[0].type"),
    *(([function()], choice, "tool_choice") for choice in ("required", "f", "", function("f"), allowed("g"))),
    ([function()], allowed("f", mode="required"), "tool_choice.allowed_tools.mode"),
    ([], "required", "tool_choice"),
)


@pytest.mark.parametrize(
    ("tools", "choice", "param"), REFUSED, ids=[f"{i}-{r[2]}" for i, r in enumerate(REFUSED)]
)
def test_what_is_wrong_is_named(tools: list[dict[str, Any]], choice: Any, param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        use(*tools, choice=choice)
    assert caught.value.param == param and len(str(caught.value)) < 200
