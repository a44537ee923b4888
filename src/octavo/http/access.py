"""Who may come in: by key, by the name they call the server, and from which web pages."""

import dataclasses
import re
from collections.abc import Callable

from starlette.datastructures import Headers as StarletteHeaders
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from octavo.http.errors import HttpError
from octavo.http.headers import Headers
from octavo.http.key_ring import KeyRing
from octavo.http.outlet import AnswerOutlet, outlet_of

OPEN_PATHS = frozenset(("/livez", "/readyz", "/health"))  # of probes: they send no key and know no name
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
_EXPOSED = (
    *("x-request-id", "x-octavo-ignored", "x-octavo-route", "x-should-retry", "retry-after"),
    *(
        f"x-ratelimit-{what}-{unit}"
        for what in ("limit", "remaining", "reset")
        for unit in ("requests", "tokens")
    ),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """allowed_hosts: what the Host header may say, *.example.com for all below; empty: anything.
    allowed_origins: whose pages a browser lets read answers, or *; empty: nobody's.
    """

    key_ring: KeyRing
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()

    def check_host(self, scope: Scope) -> None:
        """Raises HttpError. A path is never made from this header; a client that lies gets no further."""
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        host = _HOST.fullmatch(given[0]) if len(given) == 1 else None
        if host is None and (given or scope["http_version"] != "1.0"):
            raise HttpError("invalid_host", "Send one Host header, which names this server.")
        if not self.allowed_hosts or scope["path"] in OPEN_PATHS:
            return
        name = "" if host is None else host["name"].lower()
        if not any(_is_named(name, allowed.lower()) for allowed in self.allowed_hosts):
            raise HttpError("invalid_host", "This server does not go by this name (--allowed-hosts).")

    def for_browsers(self, app: ASGIApp) -> ASGIApp:
        """app, which says to browsers whose pages may read its answers. They ask before they send a key."""
        if not self.allowed_origins:
            return app
        return ForBrowsers(
            app,
            allow_origins=self.allowed_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            expose_headers=_EXPOSED,
            max_age=600,
        )


class ForBrowsers(CORSMiddleware):
    """Starlette's, which adds to what is sent; an answer that is written straight to its outlet is added to
    there."""

    def begin(self, scope: Scope, body: bytes, outlet: AnswerOutlet) -> bool:
        """See connection.py. A request of no web page passes by."""
        begin: Callable[[Scope, bytes, AnswerOutlet], bool] | None = getattr(self.app, "begin", None)
        is_of_page = any(name == b"origin" for name, _ in scope["headers"])
        return begin is not None and not is_of_page and begin(scope, body, outlet)

    async def simple_response(
        self, scope: Scope, receive: Receive, send: Send, request_headers: StarletteHeaders
    ) -> None:
        outlet = outlet_of(scope)
        if isinstance(outlet, AnswerOutlet):
            outlet.page_headers = self._headers(request_headers["origin"])
        await super().simple_response(scope, receive, send, request_headers)

    def _headers(self, origin: str) -> Headers:
        headers = MutableHeaders(self.simple_headers)
        if not self.allow_all_origins and self.is_allowed_origin(origin):
            self.allow_explicit_origin(headers, origin)
        return headers.raw


def _is_named(name: str, allowed: str) -> bool:
    return name.endswith(allowed[1:]) if allowed.startswith("*.") else name == allowed
