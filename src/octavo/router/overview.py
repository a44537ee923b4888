"""GET /: what stands behind the router, for who opens its address in a browser."""

import html
from collections.abc import Iterable, Iterator

from octavo import __version__
from octavo.core.counted import counted
from octavo.http.page import chat_example, page, table
from octavo.router.endpoints import Endpoint, EndpointSet

LINKS = ("v1/models", "debug/endpoints", "metrics", "readyz", "version")


def overview(endpoints: EndpointSet, paths: Iterable[str]) -> str:
    """The page. paths: what is sent on to endpoints."""
    models = list(endpoints.models)
    num_ready = sum(endpoint.is_available for endpoint in endpoints.endpoints)
    about = (
        f"<p>{num_ready} of {counted(len(endpoints.endpoints), 'endpoint')} ready. Clients use this address "
        "as they would a single server's. Each octavo server describes its requests at /docs.</p>"
    )
    links = "".join(f'<a href="{link}">/{link}</a>' for link in LINKS)
    head = ("endpoint", "address", "state", "models", "requests")
    rows = ([html.escape(cell) for cell in _row(endpoint)] for endpoint in endpoints.endpoints)
    sections = {
        "Endpoints": table(head, rows),
        "Models": ", ".join(f"<code>{html.escape(model)}</code>" for model in models) or "none yet",
        "Paths": "".join(f"<div><code>POST {path}</code></div>" for path in paths),
    }
    bodies = "".join(f"<h2>{title}</h2>{body}" for title, body in sections.items())
    example = chat_example(models[0] if models else "MODEL")
    return page(f"octavo {__version__}: a router", f"{about}<nav>{links}</nav>{example}{bodies}")


def _row(endpoint: Endpoint) -> Iterator[str]:
    breaker = endpoint.breaker.state
    yield endpoint.name
    yield endpoint.url
    if not endpoint.is_available:
        yield endpoint.reason
    else:
        yield "ready" if breaker == "closed" else f"ready, but its breaker is {breaker}"
    yield ", ".join(endpoint.cards)
    yield f"{endpoint.load.num_requests} now, {endpoint.load.num_received} in all"
