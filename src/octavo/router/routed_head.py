"""What the router reads of a request's headers, and what an endpoint gets of them."""

import contextlib
import math

import msgspec
from starlette.types import Scope

from octavo.core.errors import InvalidRequestError
from octavo.http.headers import Headers

QUEUE_SECONDS_HEADER = b"x-octavo-queue-seconds"
POLICY_HEADER = b"x-octavo-policy"
_AS_IT_IS = b"accept-encoding: identity\r\n"  # the end of a stream, and a usage, are read here
# Of one connection, made anew for the next one; and what only a router may say to a replica.
_NOT_FORWARDED = frozenset(
    (b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"host",
     b"content-length", b"expect", b"x-request-id", b"accept-encoding")
)  # fmt: skip


class RoutedHead(msgspec.Struct, frozen=True):
    session: str | None = None
    policy: str | None = None  # the client's choice
    queue_seconds: float = math.inf  # that the request may wait for an endpoint, by its client
    forwarded: bytes = b""  # lines of an endpoint's head


PLAIN_HEAD = RoutedHead()  # says nothing


class HeadReader:
    def __init__(self, session_key: str | None = None) -> None:
        """session_key: the header that names a session."""
        self._session_key = session_key.lower().encode() if session_key else None
        self._read_headers = {POLICY_HEADER, QUEUE_SECONDS_HEADER, self._session_key}

    def read(self, scope: Scope) -> RoutedHead:
        """Raises InvalidRequestError."""
        headers: Headers = scope["headers"]
        given = {name: value.decode("latin-1") for name, value in headers if name in self._read_headers}
        return RoutedHead(
            session=None if self._session_key is None else given.get(self._session_key),
            policy=given.get(POLICY_HEADER),
            queue_seconds=_seconds(given.get(QUEUE_SECONDS_HEADER)),
            forwarded=_forwarded(headers),
        )


def _forwarded(headers: Headers) -> bytes:
    kept = [
        b"%b: %b\r\n" % (name, value)
        for name, value in headers
        if name not in _NOT_FORWARDED and not name.startswith(b"x-octavo-")
    ]
    return b"".join((*kept, _AS_IT_IS))


def _seconds(text: str | None) -> float:
    if text is None:
        return math.inf
    with contextlib.suppress(ValueError):
        if (seconds := float(text)) >= 0:
            return seconds
    raise InvalidRequestError(
        f"{QUEUE_SECONDS_HEADER.decode()} is {text[:40]!r}; allowed: seconds, from 0.",
        param=QUEUE_SECONDS_HEADER.decode(),
    )
