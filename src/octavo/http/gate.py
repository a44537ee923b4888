"""The outermost layer of the application: gives every request an id, bounds its head, asks for the key and
for what the key may still use, and logs the end.

Pure ASGI. Nothing behind it sees a request without the key, whatever its path.
"""

import functools
import itertools
import random
import re
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from octavo.core.errors import RateLimitError
from octavo.http.access import OPEN_PATHS, Access
from octavo.http.allowance import Allowances
from octavo.http.errors import HttpError, answer_to
from octavo.http.headers import Header
from octavo.http.key_ring import KEY_HEADERS
from octavo.http.outlet import AnswerOutlet, outlet_of
from octavo.http.repeated_head import once
from octavo.http.request_log import RequestLog, RequestRecord
from octavo.http.responses import send_error

MAX_HEAD_BYTES = 1 << 15  # names and values of all header fields
MAX_HEADERS = 100
MAX_URL_BYTES = 1 << 13
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.:-]{1,128}")


BeginRecorded = Callable[[Scope, bytes, RequestRecord, Callable[[], None]], bool]
"""As connection.py's Begin, of an application behind the gate: it calls back when the answer has ended."""


class Gate:
    def __init__(self, app: ASGIApp, access: Access, log: RequestLog, *, counts_tokens: bool = True) -> None:
        """counts_tokens: whether app tells a request's allowance of its tokens."""
        self.app = app
        self._begin: BeginRecorded = getattr(app, "begin", _never)
        self._access = access
        self._log = log
        self._allowances = Allowances(counts_tokens=counts_tokens)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        record = self._record(scope, _given_id(scope))
        try:
            once(scope, self._check_head)
            entered = self._admit(scope, record)
        except (HttpError, RateLimitError) as error:
            await send_error(_with_head(record, send), answer_to(error))
            self._log.write(record)
        else:
            await self._pass(record, entered, scope, receive, send)

    async def _pass(
        self, record: RequestRecord, entered: float | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        try:
            await self.app(scope, receive, _with_head(record, send))
        finally:
            self._end(record, entered)

    def begin(self, scope: Scope, body: bytes, outlet: AnswerOutlet) -> bool:
        """See connection.py. What is refused is refused by __call__."""
        try:
            record = self._record(scope, once(scope, self._check_head))
            entered = self._admit(scope, record)
        except (HttpError, RateLimitError):
            return False
        if not self._begin(scope, body, record, functools.partial(self._end, record, entered)):
            outlet.go_on(functools.partial(self._pass, record, entered))
        return True

    def _record(self, scope: Scope, given_id: str | None) -> RequestRecord:
        request_id = given_id or f"{random.getrandbits(128):032x}"
        record = RequestRecord(request_id, scope["method"], scope["path"], self._log.clock())
        record.attach(scope)
        record.outlet = outlet_of(scope)
        return record

    def _admit(self, scope: Scope, record: RequestRecord) -> float | None:
        """What _end is to be given. Raises HttpError, RateLimitError; then nothing has been counted."""
        self._check_key(scope, record)
        return record.allowance.enter() if scope["method"] == "POST" else None

    def _end(self, record: RequestRecord, entered: float | None) -> None:
        if entered is not None:
            record.allowance.leave(entered)
        self._log.write(record)

    def _check_head(self, scope: Scope) -> str | None:
        """The id that the client gives it. Raises HttpError for a request that nothing behind the gate may
        see, whoever sends it."""
        _check_size(scope)
        self._access.check_host(scope)
        if any(name == b"upgrade" for name, _ in scope["headers"]):  # the parser stops there: no body
            raise HttpError(
                "upgrade_not_supported",
                "This server speaks HTTP/1.1 and nothing else: send no Upgrade header.",
                headers=((b"connection", b"close"),),
            )
        return _given_id(scope)

    def _check_key(self, scope: Scope, record: RequestRecord) -> None:
        """Raises HttpError: it has none that is known."""
        key_ring = self._access.key_ring
        if key_ring.is_open or scope["path"] in OPEN_PATHS:
            return
        key = key_ring.owner(Headers(scope=scope))
        if key is None:
            raise _unauthorized(has_sent_one=any(name in KEY_HEADERS for name, _ in scope["headers"]))
        record.key_id = key.id
        record.allowance = self._allowances.of(key)


def _never(scope: Scope, body: bytes, record: RequestRecord, on_end: Callable[[], None]) -> bool:
    return False


def _check_size(scope: Scope) -> None:
    """Raises HttpError: 414 the URL, 431 the header fields."""
    num_url_bytes = len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"])
    if num_url_bytes > MAX_URL_BYTES:
        raise HttpError("url_too_long", f"The URL is longer than {MAX_URL_BYTES} bytes.")
    fields: list[Header] = scope["headers"]
    if len(fields) > MAX_HEADERS:
        raise HttpError("headers_too_large", f"More than {MAX_HEADERS} header fields.")
    if sum(map(len, itertools.chain.from_iterable(fields))) > MAX_HEAD_BYTES:
        raise HttpError("headers_too_large", f"The header fields are longer than {MAX_HEAD_BYTES} bytes.")


def _given_id(scope: Scope) -> str | None:
    """The client's own, if it is plain."""
    given = dict(scope["headers"]).get(b"x-request-id")
    return given.decode() if given is not None and _REQUEST_ID.fullmatch(given) else None


def _with_head(record: RequestRecord, send: Send) -> Send:
    async def send_with_head(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = record.head(message["status"], message.get("headers", ()))
        await send(message)

    return send_with_head


def _unauthorized(*, has_sent_one: bool) -> HttpError:
    reason = "The API key that was sent is not known here" if has_sent_one else "This server needs an API key"
    return HttpError(
        "invalid_api_key",
        f"{reason}: send Authorization: Bearer KEY, api-key: KEY, or x-api-key: KEY.",
        headers=((b"www-authenticate", b"Bearer"),),
    )
