"""Pages for people: one file each without scripts, which asks nobody for anything: they work where there is
no internet.
"""

import html
import json
from collections.abc import Iterable

from starlette.responses import Response

_STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 2rem 1.25rem 6rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { margin: 2.5rem 0 .5rem; font-size: 1.15rem; }
nav { display: flex; flex-wrap: wrap; gap: 0 1rem; } a { color: inherit; }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { border: 1px solid var(--line); border-radius: 6px; padding: .75rem 1rem; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .75rem .35rem 0; vertical-align: top; }
td:first-child { white-space: nowrap; }
@media (max-width: 48rem) {
  table { display: block; overflow-x: auto; }
  td { min-width: 6rem; overflow-wrap: anywhere; }
  td:first-child { min-width: 9rem; white-space: normal; }
}
"""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}


def page(title: str, body: str) -> str:
    """title: text; body: HTML."""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>octavo</title><style>{_STYLE}</style>'
        f'<meta name="viewport" content="width=device-width"><h1>{html.escape(title)}</h1>{body}</html>'
    )


def chat_example(model: str) -> str:
    """As HTML."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    command = (
        'curl $URL/v1/chat/completions -H "Authorization: Bearer $KEY" \\\n'
        f"  -H \"Content-Type: application/json\" \\\n  -d '{json.dumps(body)}'"
    )
    return f"<pre>{html.escape(command)}</pre>"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Of cells that are HTML."""
    titles = "".join(f"<th>{title}</th>" for title in head)
    lines = ("".join(f"<td>{cell}</td>" for cell in row) for row in rows)
    return f"<table><tr>{titles}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def page_response(text: str) -> Response:
    return Response(text, media_type="text/html; charset=utf-8", headers=_HEADERS)
