"""GET /openapi.json and GET /docs: the API described by the server itself, for programs and for people.

The page is one file without scripts, and asks nobody for anything: it works where there is no internet.
"""

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
from octavo.server.openapi import OPERATIONS, Operation, openapi
from octavo.server.parameters import PARAMETERS, Kind

_STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 2rem 1.25rem 6rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { margin: 2.5rem 0 .5rem; font-size: 1.15rem; }
nav a { margin-right: 1rem; } a { color: inherit; }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { border: 1px solid var(--line); border-radius: 6px; padding: .75rem 1rem; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .75rem .35rem 0; vertical-align: top; }
td:first-child { white-space: nowrap; }
@media (max-width: 48rem) {
  td { overflow-wrap: anywhere; }
  td:first-child { min-width: 9rem; white-space: normal; }
}
"""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}
_EXAMPLE = """curl $URL/v1/chat/completions -H "Authorization: Bearer $KEY" \\
  -H "Content-Type: application/json" \\
  -d '{"model": "default", "messages": [{"role": "user", "content": "Hello"}], "stream": true}'"""
_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")  # to pages that are not here
_CODE = re.compile(r"`([^`]*)`")


class Documentation:
    """Rendered once, when first asked for."""

    async def openapi(self, request: Request) -> Response:
        return Response(self._openapi, media_type="application/json")

    async def docs(self, request: Request) -> Response:
        return Response(self._page, media_type="text/html; charset=utf-8", headers=_HEADERS)

    async def way(self, request: Request) -> Response:
        """To the page, for who opens the server's address, or the API's, in a browser."""
        return RedirectResponse("docs")

    @functools.cached_property
    def _openapi(self) -> bytes:
        return msgspec.json.encode(openapi())

    @functools.cached_property
    def _page(self) -> str:
        return page()


def page() -> str:
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
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>octavo</title><style>{_STYLE}</style>'
        f'<meta name="viewport" content="width=device-width"><h1>octavo {__version__}</h1>'
        '<p>OpenAI\'s API. For programs: <a href="openapi.json">openapi.json</a>.</p>'
        f"<nav>{links}</nav><pre>{html.escape(_EXAMPLE)}</pre>{bodies}</html>"
    )


def _endpoint(operation: Operation) -> tuple[str, str]:
    method = "GET" if operation.body is None else "POST"
    return f"`{method} {operation.path}`", operation.summary


def _parameters(kind: Kind) -> Iterable[tuple[str, str, str]]:
    for item in PARAMETERS:
        if item.kind is kind:
            scope = f" ({item.apis[0]})" if len(item.apis) == 1 else ""
            yield f"`{item.name}`{scope}", item.about, item.default


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = "".join(f"<th>{title}</th>" for title in head)
    lines = ("".join(f"<td>{_inline(cell)}</td>" for cell in row) for row in rows)
    return f"<table><tr>{titles}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _inline(text: str) -> str:
    """The tables' texts are Markdown."""
    return _CODE.sub(r"<code>\1</code>", html.escape(_LINK.sub(r"\1", text), quote=False))


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower())
