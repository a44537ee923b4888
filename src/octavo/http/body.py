"""A request's body, JSON only, bounded in bytes and in time; and whether its client is still there."""

import asyncio
import re
from collections.abc import Coroutine
from typing import Any

import msgspec
from starlette.types import Receive, Scope

from octavo.core.errors import InvalidRequestError
from octavo.http.errors import HttpError
from octavo.http.interruption import Interruption
from octavo.http.outlet import outlet_of
from octavo.http.repeated_head import once

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the JSON decoder raises, for a wrong shape as well (msgspec.ValidationError is a DecodeError)."""

_JSON = b"application/json"
_PLAIN_ENCODINGS = ((b"content-encoding", b"identity"), (b"transfer-encoding", b"chunked"))
_CUT_SHORT = ("Input data was truncated", "it ends too early")  # msgspec's words, and ours


_TYPES = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "array": "a list",
    "object": "an object",
}
_TYPE = re.compile(r"`([a-z |]+)`")


class ClientGone(Exception):
    """The client closed the connection before its request was whole. Nobody is left to be answered."""


def of_shape(field: str, reason: str) -> str:
    """A sentence about a field of the wrong shape. reason is msgspec's, which speaks of Python's types."""
    return f"{field}: {reason[0].lower()}{_TYPE.sub(_in_json, reason[1:])}."


def _in_json(found: re.Match[str]) -> str:
    """`float | null`: a number. That null is as good as nothing goes without saying."""
    types = found[1].split(" | ")
    return " or ".join(_TYPES.get(one, one) for one in types if one != "null" or len(types) == 1)


async def read_json_body(scope: Scope, receive: Receive, *, max_bytes: int, timeout_seconds: float) -> bytes:
    """The whole body. Raises HttpError: 415 not JSON, 413 too large, 408 too slow. Raises ClientGone."""
    check_json_head(scope, max_bytes)
    outlet = outlet_of(scope)
    if outlet is not None and outlet.has_whole_request:
        return await _read(receive, max_bytes)
    with Interruption() as reading:
        timer = asyncio.get_running_loop().call_later(
            timeout_seconds, lambda: reading.interrupt(_too_slow(timeout_seconds))
        )
        try:
            return await _read(receive, max_bytes)
        finally:
            timer.cancel()


def check_json_head(scope: Scope, max_bytes: int) -> None:
    """Raises HttpError: 415 not JSON, 413 too large, by what the head says."""
    once(scope, check_is_json)
    length = dict(scope["headers"]).get(b"content-length", b"")
    if length.isdigit() and int(length[:20]) > max_bytes:
        raise _too_large(max_bytes)


def check_is_json(scope: Scope) -> None:
    """Raises HttpError: 415."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    content_type = headers.get(b"content-type", b"")
    if content_type != _JSON and content_type.partition(b";")[0].strip().lower() != _JSON:
        raise HttpError("unsupported_media_type", "Send Content-Type: application/json.")
    for name, plain in _PLAIN_ENCODINGS:
        if name in headers and headers[name].strip().lower() != plain:
            raise HttpError("unsupported_media_type", "A compressed body is not accepted.")


async def _read(receive: Receive, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > max_bytes:  # the HTTP server discards the rest: closing now would lose the answer
            raise _too_large(max_bytes)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _too_slow(seconds: float) -> HttpError:
    return HttpError(
        "request_timeout",
        f"The body did not arrive within {seconds:g} seconds.",
        headers=((b"connection", b"close"),),
    )


def _too_large(max_bytes: int) -> HttpError:
    return HttpError("request_too_large", f"The body is longer than {max_bytes} bytes.")


def not_json(error: msgspec.DecodeError | UnicodeDecodeError | RecursionError) -> InvalidRequestError:
    """What is answered for a body that the decoder cannot read."""
    if isinstance(error, UnicodeDecodeError):
        reason = "a string is not UTF-8"
    elif isinstance(error, RecursionError):
        reason = "it is nested too deeply"
    else:
        reason = str(error).removeprefix("JSON is malformed: ").replace(*_CUT_SHORT)
    return InvalidRequestError(f"The body is not valid JSON: {reason}.", code="invalid_json")


async def run_while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Run work to its end; a client that goes away cancels it. Raises what work raises, or ClientGone."""
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_wait_for_disconnect(receive))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.wait((working, watching))
    await working


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
