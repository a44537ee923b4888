"""What went wrong, as OpenAI's error JSON: a status, a sentence, the field at fault, a code for programs.

Nothing else leaves the server as an error: no other shape, no stack trace, no path.
"""

import dataclasses

import msgspec

from octavo.core.errors import (
    EngineError,
    InvalidRequestError,
    ModelNotFoundError,
    OctavoError,
    OverloadedError,
    RateLimitError,
)
from octavo.http.error_codes import ERROR_CODES
from octavo.http.events import on_one_line
from octavo.http.headers import Headers

SHUTDOWN_RETRY_AFTER_SECONDS = 5


class HttpError(OctavoError):
    """A request is refused for a reason of HTTP's own; error_codes.py has the status."""

    def __init__(self, code: str, message: str, *, headers: Headers = ()) -> None:
        super().__init__(message)
        self.code = code
        self.headers = headers


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An error as it is sent: whole, or as an event in the middle of a stream. code is one of ERROR_CODES."""

    code: str
    message: str
    param: str | None = None
    headers: Headers = ()

    @property
    def status(self) -> int:
        return ERROR_CODES[self.code].status

    @property
    def all_headers(self) -> Headers:
        """Besides its own, OpenAI's hint to its client libraries."""
        should_retry = b"true" if ERROR_CODES[self.code].is_worth_a_retry else b"false"
        return (*self.headers, (b"x-should-retry", should_retry))

    @property
    def body(self) -> bytes:
        error = {
            "message": self.message,
            "type": ERROR_CODES[self.code].type,
            "param": self.param,
            "code": self.code,
        }
        return msgspec.json.encode({"error": error})

    @property
    def event(self) -> bytes:
        return b"data: " + on_one_line(self.body) + b"\n\n"


def answer_to(error: Exception) -> ErrorAnswer:
    """How error is answered. What is not an OctavoError is a defect of ours: the client learns only that."""
    message = str(error)
    match error:
        case HttpError():
            return ErrorAnswer(error.code, message, headers=error.headers)
        case InvalidRequestError():
            return ErrorAnswer(error.code or "invalid_value", message, error.param)
        case ModelNotFoundError():
            return ErrorAnswer("model_not_found", message, "model")
        case OverloadedError():
            return overloaded(message, "server_overloaded", error.retry_after_seconds)
        case RateLimitError():
            return overloaded(message, "rate_limit_exceeded", error.retry_after_seconds)
        case EngineError():
            return ErrorAnswer("engine_error", message)
    return ErrorAnswer("internal_error", "The server failed to answer this request; its log says more.")


def shutting_down(message: str) -> ErrorAnswer:
    """The client is to come back by another connection, which may lead to somebody else."""
    answer = overloaded(message, "shutting_down", SHUTDOWN_RETRY_AFTER_SECONDS)
    return dataclasses.replace(answer, headers=(*answer.headers, (b"connection", b"close")))


def overloaded(message: str, code: str, retry_after_seconds: int) -> ErrorAnswer:
    """An error that passes with time."""
    return ErrorAnswer(code, message, headers=((b"retry-after", str(retry_after_seconds).encode()),))
