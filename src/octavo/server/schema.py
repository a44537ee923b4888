"""The bodies clients send and get, as msgspec Structs. A field that is not here is refused by name.

Limits of sampling fields are core/sampling_params.py's; limits that depend on the model are prompts.py's.
"""

import dataclasses
import json
import re
from typing import Generic, TypeVar

import msgspec

from octavo.core.errors import InvalidRequestError
from octavo.core.sampling_params import SamplingParams

Body = TypeVar("Body", bound=msgspec.Struct)

ROLES = ("system", "user", "assistant")
_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_FIELD = re.compile(r"^Object (?:contains unknown|missing required) field `(?P<field>.*?)`", re.DOTALL)
_ECHO_LIMIT = 80  # characters of a client's own text repeated in an error


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    include_usage: bool | None = None


class TextPart(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    type: str
    text: str | None = None


class ChatMessage(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    role: str
    content: str | list[TextPart]


class GenerationRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What both kinds of request share. null means the same as leaving a field out."""

    model: str
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    ignore_eos: bool | None = None
    min_tokens: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def includes_usage(self) -> bool:
        """Whether the stream ends with a chunk that holds the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def sampling_params(self) -> SamplingParams:
        """Raises InvalidRequestError, naming the field, for a value out of range."""
        if self.stream_options is not None and not self.stream:
            raise InvalidRequestError(
                "stream_options is allowed only with stream: true.", param="stream_options"
            )
        given = {
            field.name: value
            for field in dataclasses.fields(SamplingParams)
            if (value := getattr(self, field.name, None)) is not None
        }
        if isinstance(self.stop, str):
            given["stop"] = (self.stop,)
        elif self.stop is not None:
            given["stop"] = tuple(self.stop)
        return SamplingParams(**given)


class ChatRequest(GenerationRequest, kw_only=True):
    messages: list[ChatMessage]
    max_completion_tokens: int | None = None

    def sampling_params(self) -> SamplingParams:
        limits = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(limits) > 1:
            raise InvalidRequestError(
                f"max_tokens is {self.max_tokens} and max_completion_tokens is {self.max_completion_tokens}; "
                "they mean the same: send one of them.",
                param="max_completion_tokens",
            )
        sampling = super().sampling_params()
        return dataclasses.replace(sampling, max_tokens=limits.pop()) if limits else sampling

    def conversation(self) -> list[dict[str, str]]:
        """The messages, their contents as one text each. Raises InvalidRequestError for what we lack."""
        if not self.messages:
            raise InvalidRequestError("messages is empty; at least one message is needed.", param="messages")
        return [
            {"role": _role(message.role, index), "content": _text(message.content, index)}
            for index, message in enumerate(self.messages)
        ]


def _role(role: str, index: int) -> str:
    if role not in ROLES:
        raise InvalidRequestError(
            f"messages[{index}].role is {role[:_ECHO_LIMIT]!r}; allowed: {', '.join(ROLES)}.",
            param=f"messages[{index}].role",
        )
    return role


def _text(content: str | list[TextPart], index: int) -> str:
    if isinstance(content, str):
        return content
    param = f"messages[{index}].content"
    if not content:
        raise InvalidRequestError(f"{param} is an empty list; at least one text part is needed.", param=param)
    texts = []
    for position, part in enumerate(content):
        if part.type != "text":
            raise InvalidRequestError(
                f"{param}[{position}].type is {part.type[:_ECHO_LIMIT]!r}; this model takes text only.",
                param=f"{param}[{position}].type",
                code="unsupported_content",
            )
        if part.text is None:
            raise InvalidRequestError(
                f"{param}[{position}].text is missing.",
                param=f"{param}[{position}].text",
                code="missing_required_parameter",
            )
        texts.append(part.text)
    return "".join(texts)


class CompletionRequest(GenerationRequest, kw_only=True):
    prompt: str | list[str | int]


class PromptTokensDetails(msgspec.Struct):
    cached_tokens: int


class Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class BodyDecoder(Generic[Body]):
    """JSON bytes to one kind of request, or an InvalidRequestError that names the field."""

    def __init__(self, kind: type[Body]) -> None:
        self._decoder = msgspec.json.Decoder(kind)

    def decode(self, body: bytes) -> Body:
        try:
            request = self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise _refusal(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequestError(
                f"The body is not valid JSON: {_reason(error)}.", code="invalid_json"
            ) from None
        json.loads(body, object_pairs_hook=_check_unique)  # msgspec would take the last of two, in silence
        return request


def _check_unique(pairs: list[tuple[str, object]]) -> None:
    """Raises InvalidRequestError for an object that has a field twice."""
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequestError(f"{twice} is given twice.", param=twice)


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "a string is not UTF-8"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error).removeprefix("JSON is malformed: ")


def _refusal(message: str) -> InvalidRequestError:
    """msgspec's sentence about a value of the wrong shape, in ours."""
    located = _PATH.search(message)
    path = located["path"] if located else ""
    reason = message[: located.start()] if located else message
    unnamed = _FIELD.match(reason)
    if unnamed is None:
        param = path or None
        return InvalidRequestError(f"{path or 'The body'}: {reason[0].lower()}{reason[1:]}.", param=param)
    field = unnamed["field"][:_ECHO_LIMIT]
    param = f"{path}.{field}" if path else field
    if reason.startswith("Object missing"):
        return InvalidRequestError(f"{param} is missing.", param=param, code="missing_required_parameter")
    return InvalidRequestError(
        f"{param} is not supported. No field is ignored: leave it out.",
        param=param,
        code="unsupported_parameter",
    )
