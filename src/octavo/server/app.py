"""The server's objects, wired together: routes, endpoints, and how errors leave."""

import dataclasses

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from octavo import __version__
from octavo.core.errors import OctavoError
from octavo.http.errors import ErrorAnswer, answer_to
from octavo.http.gate import Gate, KeyCheck
from octavo.http.request_log import RequestLog
from octavo.metrics.engine_metrics import CONTENT_TYPE
from octavo.server.chat import ChatDialect
from octavo.server.completions import CompletionDialect
from octavo.server.endpoint import GenerationEndpoint, Services
from octavo.server.readiness import Readiness


def build_app(services: Services, readiness: Readiness, *, key_check: KeyCheck, log: RequestLog) -> ASGIApp:
    """The ASGI application. Everything in it is given, so that tests can give their own."""
    surface = Surface(services, readiness)
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", GenerationEndpoint(ChatDialect(), services), methods=["POST"]),
            Route("/v1/completions", GenerationEndpoint(CompletionDialect(), services), methods=["POST"]),
            Route("/v1/models", surface.models),
            Route("/v1/models/{name:path}", surface.model),
            Route("/livez", surface.livez),
            Route("/readyz", surface.readyz),
            Route("/health", surface.readyz),
            Route("/version", surface.version),
            Route("/metrics", surface.metrics),
        ],
        exception_handlers={HTTPException: _on_http_exception, OctavoError: _on_error, Exception: _on_error},
    )
    app.router.redirect_slashes = False
    return Gate(app, key_check=key_check, log=log)


@dataclasses.dataclass(frozen=True, slots=True)
class Surface:
    """The endpoints that only read."""

    services: Services
    readiness: Readiness

    async def models(self, request: Request) -> Response:
        return _json(self.services.model.cards())

    async def model(self, request: Request) -> Response:
        return _json(self.services.model.card(request.path_params["name"]))

    async def livez(self, request: Request) -> Response:
        """The process answers; restarting it would help nobody otherwise."""
        return _json({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        complaint = await self.readiness.complaint()
        if complaint is None:
            return _json({"status": "ready"})
        return _json({"status": "unready", "reason": complaint}, status=503)

    async def version(self, request: Request) -> Response:
        return _json({"version": __version__})

    async def metrics(self, request: Request) -> Response:
        engine, metrics = self.services.engine, self.services.metrics
        metrics.observe_engine(engine.stats, is_up=engine.is_ready, num_restarts=engine.num_restarts)
        return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE})


def _json(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own: no such path (404), or not with this method (405)."""
    assert isinstance(error, HTTPException)
    answers = {
        404: ("There is nothing at this path.", "not_found"),
        405: ("This path does not take this method.", "method_not_allowed"),
    }
    message, code = answers.get(error.status_code, ("The request cannot be answered.", "invalid_request"))
    allow = tuple((name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items())
    return _error_response(ErrorAnswer(error.status_code, message, code=code, headers=allow))


async def _on_error(request: Request, error: Exception) -> Response:
    return _error_response(answer_to(error))


def _error_response(answer: ErrorAnswer) -> Response:
    response = Response(answer.body, answer.status, media_type="application/json")
    response.raw_headers.extend(answer.all_headers)
    return response
