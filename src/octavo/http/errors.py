"""What went wrong, as OpenAI's error JSON: a status, a sentence, the field at fault, a code for programs.

Nothing else leaves the server as an error: no other shape, no stack trace, no path.
"""

import dataclasses

import msgspec
from starlette.types import Send

from octavo.core.errors import (
    EngineError,
    InvalidRequestError,
    ModelNotFoundError,
    OctavoError,
    OverloadedError,
)

Headers = tuple[tuple[bytes, bytes], ...]


class HttpError(OctavoError):
    """A request is refused with a status of HTTP's own: 401, 404, 405, 408, 413, 415, 503."""

    def __init__(
        self, status: int, message: str, *, code: str, param: str | None = None, headers: Headers = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.headers = headers


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An error as it is sent: whole, or as an event in the middle of a stream."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    headers: Headers = ()

    @property
    def all_headers(self) -> Headers:
        """Besides its own, OpenAI's hint to its client libraries."""
        should_retry = b"true" if self.status in (408, 503) else b"false"
        return (*self.headers, (b"x-should-retry", should_retry))

    @property
    def body(self) -> bytes:
        error = {
            "message": self.message,
            "type": _error_type(self.status),
            "param": self.param,
            "code": self.code,
        }
        return msgspec.json.encode({"error": error})

    @property
    def event(self) -> bytes:
        return b"data: " + self.body + b"\n\n"


def _error_type(status: int) -> str:
    if status == 503:
        return "overloaded_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def answer_to(error: Exception) -> ErrorAnswer:
    """How error is answered. What is not an OctavoError is a defect of ours: the client learns only that."""
    message = str(error)
    match error:
        case HttpError():
            return ErrorAnswer(error.status, message, error.param, error.code, error.headers)
        case InvalidRequestError():
            return ErrorAnswer(400, message, error.param, error.code or "invalid_value")
        case ModelNotFoundError():
            return ErrorAnswer(404, message, "model", "model_not_found")
        case OverloadedError():
            return overloaded(message, "server_overloaded", error.retry_after_seconds)
        case EngineError():
            return ErrorAnswer(500, message, code="engine_error")
    return ErrorAnswer(
        500, "The server failed to answer this request; its log says more.", code="internal_error"
    )


def overloaded(message: str, code: str, retry_after_seconds: int) -> ErrorAnswer:
    return ErrorAnswer(
        503, message, code=code, headers=((b"retry-after", str(retry_after_seconds).encode()),)
    )


async def send_error(send: Send, answer: ErrorAnswer) -> None:
    await send_json(send, answer.status, answer.body, answer.all_headers)


async def send_json(send: Send, status: int, body: bytes, headers: Headers = ()) -> None:
    length = (b"content-length", str(len(body)).encode())
    content_type = (b"content-type", b"application/json")
    await send({"type": "http.response.start", "status": status, "headers": [content_type, length, *headers]})
    await send({"type": "http.response.body", "body": body})
