"""The outermost layer of the application: gives every request an id, asks for the key, and logs the end.

Pure ASGI. Nothing behind it sees a request without the key, whatever its path.
"""

import hashlib
import hmac
import re
import uuid

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from octavo.server.errors import HttpError, answer_to, send_error
from octavo.server.request_log import RequestLog, RequestRecord

_OPEN_PATHS = frozenset(("/livez", "/readyz", "/health"))  # what probes ask, who cannot send a key
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


class KeyCheck:
    """Compares digests of bytes, so that neither the time nor an odd character tells anything."""

    def __init__(self, api_key: str | None) -> None:
        """None: nobody needs a key."""
        self._digest = None if api_key is None else _digest(api_key.encode())

    def permits(self, headers: Headers) -> bool:
        if self._digest is None:
            return True
        scheme, _, key = headers.get("authorization", "").partition(" ")
        is_right = hmac.compare_digest(_digest(key.strip().encode("latin-1")), self._digest)
        return is_right and scheme.lower() == "bearer"


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


class Gate:
    def __init__(self, app: ASGIApp, *, key_check: KeyCheck, log: RequestLog) -> None:
        self._app = app
        self._key_check = key_check
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        record = RequestRecord(_request_id(headers), scope["method"], scope["path"], self._log.clock())
        record.attach(scope)
        identity = (b"x-request-id", record.request_id.encode())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] = [*message.get("headers", ()), identity]
            await send(message)

        try:
            if scope["path"] in _OPEN_PATHS or self._key_check.permits(headers):
                await self._app(scope, receive, send_with_id)
            else:
                await send_error(send_with_id, answer_to(_unauthorized()))
        finally:
            self._log.write(record)


def _request_id(headers: Headers) -> str:
    """The client's own if it is plain, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _unauthorized() -> HttpError:
    return HttpError(
        401,
        "This server needs its API key: send Authorization: Bearer KEY.",
        code="invalid_api_key",
        headers=((b"www-authenticate", b"Bearer"),),
    )
