"""How JSON leaves: as an ASGI message, or as a Response of the endpoints that only read; every exception as
OpenAI's error JSON.
"""

import functools
from collections.abc import Awaitable, Callable

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send

from octavo.core.errors import ECHO_LIMIT, OctavoError
from octavo.http.errors import ErrorAnswer, answer_to
from octavo.http.headers import Headers
from octavo.http.wrong_path import complaint_about

Handler = Callable[[Request, Exception], Awaitable[Response]]


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


async def _on_http_exception(advice: str, request: Request, error: Exception) -> Response:
    """Starlette's own: no such path (404), or not with this method (405)."""
    assert isinstance(error, HTTPException)
    headers = error.headers or {}
    path = request.scope["path"]
    if error.status_code == 404:
        answer = ErrorAnswer("not_found", complaint_about(path, request.app.routes, advice))
    else:
        message = f"{request.method} is not a method of {path[:ECHO_LIMIT]}; allowed: {headers['Allow']}."
        allow = tuple((name.lower().encode(), value.encode()) for name, value in headers.items())
        answer = ErrorAnswer("method_not_allowed", message, headers=allow)
    return error_response(answer)


async def _on_error(request: Request, error: Exception) -> Response:
    return error_response(answer_to(error))


def error_response(answer: ErrorAnswer) -> Response:
    """Of an endpoint that only reads."""
    response = Response(answer.body, answer.status, media_type="application/json")
    response.raw_headers.extend(answer.all_headers)
    return response


def exception_handlers(advice: str = "") -> dict[object, Handler]:
    """An application's. advice: where to look, for who asks for a path that is near to none."""
    return {
        HTTPException: functools.partial(_on_http_exception, advice),
        OctavoError: _on_error,
        Exception: _on_error,
    }
