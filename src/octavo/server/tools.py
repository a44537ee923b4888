"""The tools of a chat: what clients send, checked, and what of it may be called.

The schemas of parameters are passed on to the model; a malformed one is the model's to read.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from octavo.core.errors import InvalidRequestError

MAX_TOOLS = 128
MAX_NAME_CHARACTERS = 64
MAX_DESCRIPTION_CHARACTERS = 16_384
MAX_PARAMETERS_BYTES = 65_536  # of their JSON
MAX_DEPTH = 64  # of parameters, and of the arguments of calls that are sent back

_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_NAME_CHARACTERS}}}")
_ECHO_LIMIT = 80  # characters of a client's own text repeated in an error


class FunctionTool(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    type: str
    function: FunctionTool | None = None


class NamedFunction(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: str


class ToolReference(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    type: str
    function: NamedFunction


class AllowedTools(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    mode: str
    tools: list[ToolReference]


class ToolChoice(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """{"type": "function", "function": {"name"}} or {"type": "allowed_tools", "allowed_tools": {...}}."""

    type: str
    function: NamedFunction | None = None
    allowed_tools: AllowedTools | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ToolUse:
    """What the model is told of, in OpenAI's form, and what it may call. Both are empty without tools."""

    shown: tuple[Mapping[str, Any], ...] = ()
    names: frozenset[str] = frozenset()
    is_parallel: bool = True


def tool_use(tools: list[Tool] | None, choice: str | ToolChoice | None, is_parallel: bool | None) -> ToolUse:
    """Raises InvalidRequestError, naming the field."""
    tools = tools or []
    if len(tools) > MAX_TOOLS:
        raise _refusal("tools", f"tools holds {len(tools)} tools; allowed: {MAX_TOOLS}.")
    shown = {}
    for index, tool in enumerate(tools):
        param = f"tools[{index}]"
        described = _described(tool, param)
        name = described["function"]["name"]
        if name in shown:
            raise _refusal(f"{param}.function.name", f"{param}.function.name is {name!r}, as another one's.")
        shown[name] = described
    if choice in (None, "auto"):
        names = frozenset(shown)
    elif choice == "none":
        names = frozenset()
    else:
        names = _chosen(choice, shown)
    is_told = choice != "none"  # what it does not know of the model does not call
    return ToolUse(tuple(shown.values()) if is_told else (), names, is_parallel is not False)


def _described(tool: Tool, param: str) -> dict[str, Any]:
    function = tool.function
    if tool.type != "function" or function is None:
        shown = tool.type[:_ECHO_LIMIT]
        raise _refusal(f"{param}.type", f"{param}.type is {shown!r}; allowed: 'function', with one beside.")
    param += ".function"
    if _NAME.fullmatch(function.name) is None:
        raise _refusal(
            f"{param}.name",
            f"{param}.name is {function.name[:_ECHO_LIMIT]!r}; allowed: 1 to {MAX_NAME_CHARACTERS} of "
            "A-Z a-z 0-9 _ -.",
        )
    described: dict[str, Any] = {"name": function.name}
    if function.description is not None:
        if (length := len(function.description)) > MAX_DESCRIPTION_CHARACTERS:
            raise _refusal(
                f"{param}.description",
                f"{param}.description has {length} characters; allowed: {MAX_DESCRIPTION_CHARACTERS}.",
            )
        described["description"] = function.description
    if function.parameters is not None:
        check_depth(function.parameters, f"{param}.parameters")
        if (size := len(msgspec.json.encode(function.parameters))) > MAX_PARAMETERS_BYTES:
            raise _refusal(
                f"{param}.parameters",
                f"{param}.parameters has {size} bytes of JSON; allowed: {MAX_PARAMETERS_BYTES}.",
            )
    if function.strict:
        raise _refusal(f"{param}.strict", f"{param}.strict is not supported. Leave it out.")
    described["parameters"] = function.parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": described}


def _chosen(choice: str | ToolChoice | None, shown: Mapping[str, Any]) -> frozenset[str]:
    """The names that a tool_choice other than auto and none lets the model call."""
    if not shown:
        raise _refusal("tool_choice", "tool_choice needs tools to choose from.")
    if not isinstance(choice, ToolChoice) or choice.allowed_tools is None:
        raise _refusal("tool_choice", "tool_choice has to be 'auto', 'none' or of the type 'allowed_tools'.")
    if choice.allowed_tools.mode != "auto":
        raise _refusal("tool_choice.allowed_tools.mode", "tool_choice.allowed_tools.mode has to be 'auto'.")
    names = frozenset(reference.function.name for reference in choice.allowed_tools.tools)
    if unknown := sorted(names - shown.keys()):
        raise _refusal("tool_choice", f"tool_choice names {unknown[0][:_ECHO_LIMIT]!r}, which is no tool.")
    return names


def check_depth(value: object, param: str) -> None:
    """Raises InvalidRequestError for what is nested more deeply than templates are given."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [item for parent in level for item in _children(parent)]
        if not level:
            return
    raise _refusal(param, f"{param} is nested more than {MAX_DEPTH} deep.")


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return [item for item in value.values() if isinstance(item, dict | list)]
    return [item for item in value if isinstance(item, dict | list)] if isinstance(value, list) else []


def _refusal(param: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(message, param=param)
