"""Errors a user can cause. Each says what was wrong, what is allowed, and where it can be changed.

Everything else is a defect: it surfaces as an ordinary exception and fails one request, never the process.
"""

from collections.abc import Iterable

ECHO_LIMIT = 80  # characters of a client's own text repeated in an error


class OctavoError(Exception):
    """Base of every error that is answered to a user as one sentence."""


class StartError(OctavoError):
    """octavo cannot start as asked: a file, a flag, a port or the memory is at fault. Exit code 2."""


class ModelFileError(StartError):
    """A model file is missing, truncated, inconsistent, or of a kind that is not supported."""


class InvalidRequestError(OctavoError):
    """A request is refused before it reaches the engine (HTTP 400).

    param names the offending field ("temperature", "messages[0].content") or is None; code is OpenAI's
    machine-readable error code where there is one ("context_length_exceeded").
    """

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class ModelNotFoundError(OctavoError):
    """The request names a model that is not served here (HTTP 404)."""

    def __init__(self, name: str, served: Iterable[str]) -> None:
        super().__init__(f"There is no model {name[:ECHO_LIMIT]!r} here. Served: {', '.join(served)}.")


class OverloadedError(OctavoError):
    """A bounded queue is full or the server drains (HTTP 503); retry_after_seconds says when to come back."""

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class RateLimitError(OctavoError):
    """A client has used up its share (HTTP 429); retry_after_seconds says when there is some again."""

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class EngineError(OctavoError):
    """The engine failed this request (HTTP 500): set aside, not computable, or the engine is gone."""
