"""The router's objects, wired together: routes, endpoints, and how errors leave."""

import dataclasses
from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from octavo import __version__
from octavo.core.errors import ECHO_LIMIT, ModelNotFoundError
from octavo.http.access import Access
from octavo.http.errors import HttpError
from octavo.http.gate import Gate
from octavo.http.page import page_response
from octavo.http.request_log import RequestLog, RequestRecord
from octavo.http.responses import exception_handlers, json_response
from octavo.metrics.router_metrics import RouterMetrics
from octavo.router.decisions import MAX_DECISIONS
from octavo.router.explanation import explain
from octavo.router.overview import overview
from octavo.router.proxy import Proxy
from octavo.router.routing import Router

# JSON in, JSON or events out, and the model is named in the body: all that routing needs to know.
PATHS = (
    "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/embeddings",
    "/v1/rerank", "/v2/rerank", "/v1/score", "/rerank", "/score", "/tokenize", "/detokenize",
)  # fmt: skip
ROUTED_PATHS = frozenset(PATHS)

GENERATION_PATHS = ("/chat/completions", "/completions", "/embeddings")  # that Azure has, too
AZURE_PREFIXES = ("/openai/v1", "/openai/deployments/{deployment}")


class Respelled:
    """An ASGI application that stands at another path as well: its requests have the path it knows."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "path": self._path}, receive, send)


class Shortcut:
    """What is asked for most goes to the proxy at once: in Starlette it would spend longer than there."""

    def __init__(self, proxy: Proxy, others: ASGIApp) -> None:
        self._proxy = proxy
        self.others = others

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return (self._proxy if _is_routed(scope) else self.others)(scope, receive, send)

    def begin(self, scope: Scope, body: bytes, record: RequestRecord, on_end: Callable[[], None]) -> bool:
        """See gate.py."""
        return _is_routed(scope) and self._proxy.begin(scope, body, record, on_end)


def _is_routed(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["path"] in ROUTED_PATHS and scope["method"] == "POST"


def build_app(
    router: Router, proxy: Proxy, metrics: RouterMetrics, *, access: Access, log: RequestLog
) -> ASGIApp:
    surface = Surface(router, proxy, metrics)
    app = Starlette(
        routes=[
            *(Route(path, proxy, methods=["POST"]) for path in ROUTED_PATHS),
            *(
                Route(prefix + path, Respelled(proxy, "/v1" + path), methods=["POST"])
                for prefix in AZURE_PREFIXES
                for path in GENERATION_PATHS
            ),
            *(
                Route(prefix + path, endpoint)
                for prefix in ("/v1", "/openai/v1", "/openai")
                for path, endpoint in (("/models", surface.models), ("/models/{name:path}", surface.model))
            ),
            Route("/livez", surface.livez),
            Route("/readyz", surface.readyz),
            Route("/health", surface.readyz),
            Route("/version", surface.version),
            Route("/metrics", surface.render_metrics),
            Route("/", surface.overview),
            *(Route(path, surface.way) for path in ("/docs", "/v1")),
            Route("/debug/endpoints", surface.endpoints),
            Route("/debug/route/{request_id}", surface.decision),
        ],
        exception_handlers=exception_handlers("GET / says what there is."),
    )
    app.router.redirect_slashes = False
    return access.for_browsers(Gate(Shortcut(proxy, app), access, log, counts_tokens=False))


@dataclasses.dataclass(frozen=True, slots=True)
class Surface:
    """What the router answers itself."""

    router: Router
    proxy: Proxy
    metrics: RouterMetrics

    async def overview(self, request: Request) -> Response:
        return page_response(overview(self.router.endpoints, PATHS))

    async def way(self, request: Request) -> Response:
        """To the overview, for who opens the API's address, or looks where servers have a page."""
        return RedirectResponse(".")

    async def models(self, request: Request) -> Response:
        return json_response({"object": "list", "data": list(self.router.endpoints.models.values())})

    async def model(self, request: Request) -> Response:
        name, cards = request.path_params["name"], self.router.endpoints.models
        if name not in cards:
            raise ModelNotFoundError(name, cards)
        return json_response(cards[name])

    async def livez(self, request: Request) -> Response:
        return json_response({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        """Whether anybody could answer a request now."""
        if self.proxy.is_draining:
            return json_response({"status": "unready", "reason": "The router is shutting down."}, status=503)
        endpoints = self.router.endpoints
        if not endpoints.on_demand.names and not any(
            endpoint.is_available for endpoint in endpoints.endpoints
        ):
            return json_response({"status": "unready", "reason": "No endpoint is ready."}, status=503)
        return json_response({"status": "ready"})

    async def version(self, request: Request) -> Response:
        return json_response({"version": __version__})

    async def render_metrics(self, request: Request) -> Response:
        for endpoint in self.router.endpoints.endpoints:
            self.metrics.observe_endpoint(
                endpoint.name,
                is_up=endpoint.is_available,
                num_requests=endpoint.load.num_requests,
                num_tokens=endpoint.load.num_tokens,
            )
        self.metrics.observe_queue_length(self.router.room.num_waiting)
        return Response(self.metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def endpoints(self, request: Request) -> Response:
        """Every endpoint, as the router sees it; waiting: here, requests for its models."""
        endpoints, room = self.router.endpoints, self.router.room
        return json_response(
            [
                {**endpoint.description, "waiting": room.num_waiting_for(endpoint.cards)}
                for endpoint in endpoints.endpoints
            ]
        )

    async def decision(self, request: Request) -> Response:
        """Why a request went where it went: candidates, scores, attempts."""
        request_id = request.path_params["request_id"]
        decision = self.router.decisions.get(request_id)
        if decision is None:
            text = f"No request with the id {request_id[:ECHO_LIMIT]!r} is among the last {MAX_DECISIONS:,}."
            raise HttpError("not_found", text)
        return json_response(explain(decision))
