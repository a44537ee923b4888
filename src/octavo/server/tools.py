"""The tools of a chat: what clients send, checked, and what of it may or must be called.

Whether the parameters are a schema is not looked at here: models read anything, and the compiler of grammars
(decoding/) refuses what it cannot hold an answer to.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from octavo.core.errors import ECHO_LIMIT, InvalidRequestError

MAX_TOOLS = 128
MAX_NAME_CHARACTERS = 64
MAX_DESCRIPTION_CHARACTERS = 16_384
MAX_PARAMETERS_BYTES = 65_536  # of their JSON
MAX_DEPTH = 64  # of parameters, and of the arguments of calls that are sent back

_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_NAME_CHARACTERS}}}")
_NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}


class FunctionTool(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    type: str = "function"
    function: FunctionTool | None = None


class NamedFunction(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: str


class ToolReference(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    type: str = "function"
    function: NamedFunction


class AllowedTools(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    mode: str
    tools: list[ToolReference]


class ToolChoice(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """{"type": "function", "function": {"name"}} or {"type": "allowed_tools", "allowed_tools": {...}}."""

    type: str = "function"
    function: NamedFunction | None = None
    allowed_tools: AllowedTools | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ToolUse:
    """What the model is told of, in OpenAI's form, and what it may call: schemas of arguments by name. Both
    are empty without tools.

    is_forced: the answer has to be a call. is_exact: a grammar holds calls to the schemas.
    """

    shown: tuple[Mapping[str, Any], ...] = ()
    schemas: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    is_parallel: bool = True
    is_forced: bool = False
    is_exact: bool = False


def tool_use(tools: list[Tool] | None, choice: str | ToolChoice | None, is_parallel: bool | None) -> ToolUse:
    """Raises InvalidRequestError, naming the field."""
    tools = tools or []
    if len(tools) > MAX_TOOLS:
        raise _refusal("tools", f"tools holds {len(tools)} tools; allowed: {MAX_TOOLS}.")
    functions: dict[str, FunctionTool] = {}
    for index, tool in enumerate(tools):
        function = _checked(tool, f"tools[{index}]")
        if function.name in functions:
            param = f"tools[{index}].function.name"
            raise _refusal(param, f"{param} is {function.name!r}, as another one's.")
        functions[function.name] = function
    if choice == "none":  # what it does not know of the model does not call
        return ToolUse()
    chosen = _chosen(choice, functions)
    callable_ = [function for name, function in functions.items() if name in chosen.names]
    return ToolUse(
        tuple({"type": "function", "function": _described(function)} for function in functions.values()),
        {function.name: _schema(function, is_forced=chosen.is_forced) for function in callable_},
        is_parallel=is_parallel is not False and not chosen.is_one,
        is_forced=chosen.is_forced,
        is_exact=chosen.is_forced or any(function.strict for function in callable_),
    )


def _schema(function: FunctionTool, *, is_forced: bool) -> Mapping[str, Any]:
    """Of arguments that are asked for. A tool that says nothing of strict is held to its schema if it is
    forced: the client will hardly want other arguments than these."""
    is_held = function.strict or (is_forced and function.strict is None)
    if not is_held:
        return {"type": "object"}
    return _NO_PARAMETERS if function.parameters is None else function.parameters


def _checked(tool: Tool, param: str) -> FunctionTool:
    function = tool.function
    if tool.type != "function" or function is None:
        shown = tool.type[:ECHO_LIMIT]
        raise _refusal(f"{param}.type", f"{param}.type is {shown!r}; allowed: 'function', with one beside.")
    param += ".function"
    if _NAME.fullmatch(function.name) is None:
        raise _refusal(
            f"{param}.name",
            f"{param}.name is {function.name[:ECHO_LIMIT]!r}; allowed: 1 to {MAX_NAME_CHARACTERS} of "
            "A-Z a-z 0-9 _ -.",
        )
    if (length := len(function.description or "")) > MAX_DESCRIPTION_CHARACTERS:
        raise _refusal(
            f"{param}.description",
            f"{param}.description has {length} characters; allowed: {MAX_DESCRIPTION_CHARACTERS}.",
        )
    if function.parameters is not None:
        _check_parameters(function.parameters, f"{param}.parameters")
    return function


def _check_parameters(parameters: dict[str, Any], param: str) -> None:
    check_depth(parameters, param)
    if (size := len(msgspec.json.encode(parameters))) > MAX_PARAMETERS_BYTES:
        raise _refusal(param, f"{param} has {size} bytes of JSON; allowed: {MAX_PARAMETERS_BYTES}.")
    if parameters.get("type", "object") != "object":
        raise _refusal(f"{param}.type", f"{param}.type has to be 'object'.")


def _described(function: FunctionTool) -> dict[str, Any]:
    described: dict[str, Any] = {"name": function.name}
    if function.description is not None:
        described["description"] = function.description
    described["parameters"] = function.parameters or {"type": "object", "properties": {}}
    return described


@dataclasses.dataclass(frozen=True, slots=True)
class _Chosen:
    names: Collection[str]
    is_forced: bool = False
    is_one: bool = False


def _chosen(choice: str | ToolChoice | None, known: Collection[str]) -> _Chosen:
    """What a tool_choice other than none lets the model call."""
    if choice in (None, "auto"):
        return _Chosen(known)
    if not known:
        raise _refusal("tool_choice", "tool_choice needs tools to choose from.")
    if choice == "required":
        return _Chosen(known, is_forced=True)
    if not isinstance(choice, ToolChoice):
        raise _refusal("tool_choice", "tool_choice has to be 'auto', 'none', 'required' or an object.")
    if choice.type == "function" and choice.function is not None and choice.allowed_tools is None:
        return _Chosen(_known((choice.function.name,), known), is_forced=True, is_one=True)
    if choice.type == "allowed_tools" and choice.allowed_tools is not None and choice.function is None:
        allowed = choice.allowed_tools
        if allowed.mode not in ("auto", "required") or not allowed.tools:
            param = "tool_choice.allowed_tools"
            raise _refusal(param, f"{param} has to have the mode 'auto' or 'required' and at least one tool.")
        names = _known(tuple(tool.function.name for tool in allowed.tools), known)
        return _Chosen(names, is_forced=allowed.mode == "required")
    raise _refusal("tool_choice", "tool_choice has to be of the type 'function' or 'allowed_tools'.")


def _known(names: tuple[str, ...], known: Collection[str]) -> tuple[str, ...]:
    for name in names:
        if name not in known:
            raise _refusal("tool_choice", f"tool_choice names {name[:ECHO_LIMIT]!r}, which is no tool.")
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
