"""How JSON leaves: as an ASGI message, or as a Response of the endpoints that only read; every exception as
OpenAI's error JSON.
"""

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send

from octavo.core.errors import OctavoError
from octavo.http.errors import ErrorAnswer, answer_to
from octavo.http.headers import Headers


async def send_error(send: Send, answer: ErrorAnswer) -> None:
    await send_json(send, answer.status, answer.body, answer.all_headers)


async def send_json(send: Send, status: int, body: bytes, headers: Headers = ()) -> None:
    head = [*_json_headers(body), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


def error_headers(answer: ErrorAnswer) -> Headers:
    """Of an error that is sent whole."""
    return [*_json_headers(answer.body), *answer.all_headers]


def _json_headers(body: bytes) -> Headers:
    return ((b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()))


def json_response(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own: no such path (404), or not with this method (405)."""
    assert isinstance(error, HTTPException)
    answers = {
        404: ("not_found", "There is nothing at this path."),
        405: ("method_not_allowed", "This path does not take this method."),
    }
    code, message = answers[error.status_code]
    allow = tuple((name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items())
    return error_response(ErrorAnswer(code, message, headers=allow))


async def _on_error(request: Request, error: Exception) -> Response:
    return error_response(answer_to(error))


def error_response(answer: ErrorAnswer) -> Response:
    """Of an endpoint that only reads."""
    response = Response(answer.body, answer.status, media_type="application/json")
    response.raw_headers.extend(answer.all_headers)
    return response


EXCEPTION_HANDLERS = {HTTPException: _on_http_exception, OctavoError: _on_error, Exception: _on_error}
