"""GET /openapi.json and GET /docs: the API described by the server itself, for programs and for people."""

import functools
import html
import re
from collections.abc import Iterable

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from octavo import __version__
from octavo.core.limits import LIMITS
from octavo.http.error_codes import ERROR_CODES
from octavo.http.page import chat_example, page, page_response, table
from octavo.server.openapi import OPERATIONS, Operation, openapi
from octavo.server.parameters import PARAMETERS, Kind

_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")  # to pages that are not here
_CODE = re.compile(r"`([^`]*)`")


class Documentation:
    """Rendered once, when first asked for."""

    async def openapi(self, request: Request) -> Response:
        return Response(self._openapi, media_type="application/json")

    async def docs(self, request: Request) -> Response:
        return page_response(self._page)

    async def way(self, request: Request) -> Response:
        """To the page, for who opens the server's address, or the API's, in a browser."""
        return RedirectResponse("docs")

    @functools.cached_property
    def _openapi(self) -> bytes:
        return msgspec.json.encode(openapi())

    @functools.cached_property
    def _page(self) -> str:
        return documentation()


def documentation() -> str:
    limits = ((item.what, item.limit, f"{item.beyond} {item.flag}") for item in LIMITS)
    errors = ((f"{item.status} `{code}`", item.meaning, item.remedy) for code, item in ERROR_CODES.items())
    sections = {
        "Endpoints": _table(("", ""), map(_endpoint, OPERATIONS)),
        "Parameters": _table(("field", "type and limits", "default"), _parameters(Kind.HONOURED)),
        "Recorded, without effect": _table(("field", "why", ""), _parameters(Kind.RECORDED)),
        "Not supported": _table(("field", "why", ""), _parameters(Kind.REFUSED)),
        "Limits": _table(("", "limit", "beyond"), limits),
        "Errors": _table(("code", "meaning", "what to do"), errors),
    }
    links = "".join(f'<a href="#{_anchor(title)}">{title}</a>' for title in sections)
    bodies = "".join(f'<h2 id="{_anchor(title)}">{title}</h2>{body}' for title, body in sections.items())
    about = '<p>OpenAI\'s API. For programs: <a href="openapi.json">openapi.json</a>.</p>'
    return page(f"octavo {__version__}", f"{about}<nav>{links}</nav>{chat_example('default')}{bodies}")


def _endpoint(operation: Operation) -> tuple[str, str]:
    method = "GET" if operation.body is None else "POST"
    return f"`{method} {operation.path}`", operation.summary


def _parameters(kind: Kind) -> Iterable[tuple[str, str, str]]:
    for item in PARAMETERS:
        if item.kind is kind:
            scope = f" ({item.apis[0]})" if len(item.apis) == 1 else ""
            yield f"`{item.name}`{scope}", item.about, item.default


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    return table(head, (map(_inline, row) for row in rows))


def _inline(text: str) -> str:
    """The tables' texts are Markdown."""
    return _CODE.sub(r"<code>\1</code>", html.escape(_LINK.sub(r"\1", text), quote=False))


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower())
