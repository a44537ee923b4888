"""The messages of a chat, as clients send them and as the chat template takes them."""

from collections.abc import Sequence

import msgspec

from octavo.core.errors import InvalidRequestError

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""What clients call a role, and what templates call it: OpenAI renamed system, no template did."""
_ECHO_LIMIT = 80  # characters of a client's own text repeated in an error


class TextPart(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    type: str
    text: str | None = None


class ChatMessage(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A client may send back a message as it came in an answer: the fields that were null or empty there are
    taken when they still are."""

    role: str
    content: str | list[TextPart]
    name: str | None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    tool_calls: None = None
    annotations: tuple[()] | None = None


def conversation(messages: Sequence[ChatMessage]) -> list[dict[str, str]]:
    """The messages, their contents as one text each. Raises InvalidRequestError for what we lack."""
    if not messages:
        raise InvalidRequestError("messages is empty; at least one message is needed.", param="messages")
    return [_as_dict(message, f"messages[{index}]") for index, message in enumerate(messages)]


def _as_dict(message: ChatMessage, param: str) -> dict[str, str]:
    role = ROLES.get(message.role)
    if role is None:
        raise InvalidRequestError(
            f"{param}.role is {message.role[:_ECHO_LIMIT]!r}; allowed: {', '.join(ROLES)}.",
            param=f"{param}.role",
        )
    plain = {"role": role, "content": _text(message.content, f"{param}.content")}
    return plain if message.name is None else {**plain, "name": message.name}


def _text(content: str | list[TextPart], param: str) -> str:
    if isinstance(content, str):
        return content
    if not content:
        raise InvalidRequestError(f"{param} is an empty list; at least one text part is needed.", param=param)
    return "".join(_text_of_part(part, f"{param}[{position}]") for position, part in enumerate(content))


def _text_of_part(part: TextPart, param: str) -> str:
    if part.type != "text":
        raise InvalidRequestError(
            f"{param}.type is {part.type[:_ECHO_LIMIT]!r}; this model takes text only.",
            param=f"{param}.type",
            code="unsupported_content",
        )
    if part.text is None:
        raise InvalidRequestError(
            f"{param}.text is missing.", param=f"{param}.text", code="missing_required_parameter"
        )
    return part.text
