"""The messages of a chat, as clients send them and as the chat template takes them."""

from collections.abc import Sequence
from typing import Any

import msgspec

from octavo.core.errors import ECHO_LIMIT, InvalidRequestError
from octavo.server.tools import check_depth

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
"""What clients call a role, and what templates call it: OpenAI renamed system, no template did."""

Message = dict[str, Any]


class Part(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Of a content. Parts that are not text are known, so that they are refused for what they are."""

    type: str
    text: str | None = None
    image_url: Any = None
    input_audio: Any = None
    file: Any = None
    video_url: Any = None
    audio_url: Any = None
    refusal: Any = None


_OTHER_CONTENTS = tuple(name for name in Part.__struct_fields__ if name not in ("type", "text"))


class CalledFunction(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: str
    arguments: str  # JSON
    parsed_arguments: Any = None  # the same, as OpenAI's client adds it to an answer


class ToolCall(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    id: str
    function: CalledFunction
    type: str = "function"
    index: int | None = None  # of the delta that it came in


class ChatMessage(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A client may send back a message as it came in an answer: the fields that were null or empty there are
    taken when they still are."""

    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    annotations: tuple[()] | None = None
    parsed: Any = None  # the content, as OpenAI's client adds it to an answer


def conversation(messages: Sequence[ChatMessage], max_model_len: int) -> list[Message]:
    """The messages, their contents as one text each. Raises InvalidRequestError for what we lack, and for
    more messages, parts and calls than the context holds tokens: before any of them is looked at."""
    if not messages:
        raise InvalidRequestError("messages is empty; at least one message is needed.", param="messages")
    num_items = sum(map(_num_items, messages))
    if num_items > max_model_len:
        raise InvalidRequestError(
            f"messages holds {num_items} messages, parts and calls; the context has {max_model_len} tokens.",
            param="messages",
            code="context_length_exceeded",
        )
    called: set[str] = set()  # ids of the calls so far
    return [_as_dict(message, f"messages[{index}]", called) for index, message in enumerate(messages)]


def _num_items(message: ChatMessage) -> int:
    num_parts = len(message.content) if isinstance(message.content, list) else 0
    return 1 + num_parts + len(message.tool_calls or ())


def _as_dict(message: ChatMessage, param: str, called: set[str]) -> Message:
    role = ROLES.get(message.role)
    if role is None:
        raise InvalidRequestError(
            f"{param}.role is {message.role[:ECHO_LIMIT]!r}; allowed: {', '.join(ROLES)}.",
            param=f"{param}.role",
        )
    calls = message.tool_calls or []
    plain: Message = {"role": role}
    if message.content is None and not (role == "assistant" and (calls or _reasoning(message, param))):
        raise _missing(f"{param}.content")
    plain["content"] = "" if message.content is None else _text(message.content, f"{param}.content")
    if message.name is not None:
        plain["name"] = message.name
    if role == "assistant":
        plain |= _of_assistant(message, calls, param)
        called |= {call.id for call in calls}
    else:
        _refuse(f"{param}.tool_calls", calls)
        _refuse(f"{param}.reasoning_content", message.reasoning_content)
        _refuse(f"{param}.reasoning", message.reasoning)
    if role == "tool":
        plain["tool_call_id"] = _answered(message.tool_call_id, called, f"{param}.tool_call_id")
    else:
        _refuse(f"{param}.tool_call_id", message.tool_call_id)
    return plain


def _of_assistant(message: ChatMessage, calls: list[ToolCall], param: str) -> Message:
    found: Message = {}
    if reasoning := _reasoning(message, param):
        found["reasoning_content"] = reasoning
    if calls:
        found["tool_calls"] = [
            _call(call, f"{param}.tool_calls[{index}]") for index, call in enumerate(calls)
        ]
    return found


def _reasoning(message: ChatMessage, param: str) -> str | None:
    """Under either name; answers have it under both."""
    one, other = message.reasoning_content, message.reasoning
    if one is not None and other is not None and one != other:
        raise InvalidRequestError(
            f"{param}.reasoning and {param}.reasoning_content differ; they mean the same: send one of them.",
            param=f"{param}.reasoning",
        )
    return one or other


def _call(call: ToolCall, param: str) -> Message:
    if call.type != "function":
        raise InvalidRequestError(
            f"{param}.type is {call.type[:ECHO_LIMIT]!r}; allowed: 'function'.", param=f"{param}.type"
        )
    arguments = _arguments(call.function.arguments)
    check_depth(arguments, f"{param}.function.arguments")
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.function.name, "arguments": arguments},
    }


def _arguments(written: str) -> dict[str, Any] | str:
    """Templates want an object. What a model has written that is none stays text."""
    if not written.strip():
        return {}  # clients make such of a call without any
    try:
        arguments = msgspec.json.decode(written)
    except (msgspec.DecodeError, RecursionError):
        return written
    return arguments if isinstance(arguments, dict) else written


def _answered(call_id: str | None, called: set[str], param: str) -> str:
    if call_id is None:
        raise _missing(param)
    if call_id not in called:
        raise InvalidRequestError(
            f"{param} is {call_id[:ECHO_LIMIT]!r}; no message before it has a tool call of that id.",
            param=param,
        )
    return call_id


def _refuse(param: str, value: object, *, of: str = "message of this role") -> None:
    if value:
        raise InvalidRequestError(f"{param} does not belong to a {of}.", param=param)


def _missing(param: str) -> InvalidRequestError:
    return InvalidRequestError(f"{param} is missing.", param=param, code="missing_required_parameter")


def _text(content: str | list[Part], param: str) -> str:
    if isinstance(content, str):
        return content
    if not content:
        raise InvalidRequestError(f"{param} is an empty list; at least one text part is needed.", param=param)
    return "".join(_text_of_part(part, f"{param}[{position}]") for position, part in enumerate(content))


def _text_of_part(part: Part, param: str) -> str:
    if part.type != "text":
        raise InvalidRequestError(
            f"{param}.type is {part.type[:ECHO_LIMIT]!r}; this model takes text only.",
            param=f"{param}.type",
            code="unsupported_content",
        )
    for field in _OTHER_CONTENTS:
        _refuse(f"{param}.{field}", getattr(part, field), of="part of this type")
    if part.text is None:
        raise _missing(f"{param}.text")
    return part.text
