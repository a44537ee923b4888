"""What answers look like, as types: for /openapi.json, against which the tests hold every answer.

The bytes themselves are rendered by the formats of chat and completions.
"""

from typing import Any, Literal

import msgspec

from octavo.server.schema import Usage


class Message(msgspec.Struct):
    role: Literal["assistant"]
    content: str | None
    refusal: None = None
    tool_calls: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET
    reasoning: str | msgspec.UnsetType = msgspec.UNSET
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET


class ChatChoice(msgspec.Struct):
    index: int
    message: Message
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatCompletion(msgspec.Struct):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage


class TextChoice(msgspec.Struct):
    index: int
    text: str
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length"]


class TextCompletion(msgspec.Struct):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: Usage


class ModelCard(msgspec.Struct):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    max_model_len: int


class ModelList(msgspec.Struct):
    object: Literal["list"]
    data: list[ModelCard]


class Status(msgspec.Struct):
    status: str
    reason: str | msgspec.UnsetType = msgspec.UNSET


class Version(msgspec.Struct):
    version: str


class ErrorDetail(msgspec.Struct):
    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "overloaded_error", "server_error"]
    param: str | None
    code: str


class Error(msgspec.Struct):
    error: ErrorDetail
