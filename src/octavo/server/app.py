"""The server's objects, wired together: routes, endpoints, and how errors leave."""

import dataclasses

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from octavo import __version__
from octavo.core.relay import CHANNEL_PATH, EVENTS_PATH, KNOWN_ANSWER_PATH, MODEL_PATH, RESUME_PATH
from octavo.http.access import Access
from octavo.http.gate import Gate
from octavo.http.request_log import RequestLog
from octavo.http.responses import exception_handlers, json_response
from octavo.metrics.engine_metrics import CONTENT_TYPE
from octavo.server.chat import ChatDialect
from octavo.server.completions import CompletionDialect
from octavo.server.documentation import Documentation
from octavo.server.embeddings import EmbeddingRequest, Embeddings
from octavo.server.endpoint import GenerationEndpoint
from octavo.server.private import PrivateEndpoint, PrivateSurface
from octavo.server.prompt_runs import PromptEndpoint
from octavo.server.readiness import Readiness
from octavo.server.relevance import Relevance, RerankRequest, ScoreRequest
from octavo.server.services import Services
from octavo.server.tokenization import Tokenization

GENERATION_PREFIXES = ("/v1", "/openai/v1", "/openai/deployments/{deployment}")  # the latter two are Azure's
MODELS_PREFIXES = ("/v1", "/openai/v1", "/openai")


def build_app(
    services: Services,
    readiness: Readiness,
    *,
    access: Access,
    log: RequestLog,
    allows_unknown_fields: bool = False,
) -> ASGIApp:
    """The ASGI application. Everything in it is given, so that tests can give their own."""
    surface = Surface(services, readiness)
    chat = GenerationEndpoint(ChatDialect(services.abilities, allows_unknown=allows_unknown_fields), services)
    completions = GenerationEndpoint(CompletionDialect(allows_unknown=allows_unknown_fields), services)
    embeddings = PromptEndpoint(
        EmbeddingRequest,
        services,
        Embeddings(services).answer,
        id_prefix="embd-",
        allows_unknown=allows_unknown_fields,
    )
    tokenization = Tokenization(services)
    documentation = Documentation()
    generation = [
        Route(prefix + path, endpoint, methods=["POST"])
        for prefix in GENERATION_PREFIXES
        for path, endpoint in (
            ("/chat/completions", chat),
            ("/completions", completions),
            ("/embeddings", embeddings),
        )
    ]
    models = [
        Route(prefix + path, endpoint)
        for prefix in MODELS_PREFIXES
        for path, endpoint in (("/models", surface.models), ("/models/{name:path}", surface.model))
    ]
    private = PrivateSurface(services, {"/v1/chat/completions": chat, "/v1/completions": completions})
    app = Starlette(
        routes=[
            *generation,
            *_relevance_routes(services, allows_unknown=allows_unknown_fields),
            *models,
            Route("/tokenize", tokenization.tokenize, methods=["POST"]),
            Route("/detokenize", tokenization.detokenize, methods=["POST"]),
            Route("/livez", surface.livez),
            Route("/readyz", surface.readyz),
            Route("/health", surface.readyz),
            Route("/version", surface.version),
            Route("/metrics", surface.metrics),
            Route("/openapi.json", documentation.openapi),
            Route("/docs", documentation.docs),
            *(Route(path, documentation.way) for path in ("/", "/v1")),
            *_private_routes(private),
        ],
        exception_handlers=exception_handlers("GET /docs lists what there is."),
    )
    app.router.redirect_slashes = False
    return access.for_browsers(Gate(app, access, log))


def _private_routes(private: PrivateSurface) -> list[Route]:
    return [
        Route(MODEL_PATH, private.model),
        Route(EVENTS_PATH, private.events),
        Route(CHANNEL_PATH, PrivateEndpoint(private.channel), methods=["GET"]),
        Route(CHANNEL_PATH, private.renew, methods=["POST"]),
        Route(RESUME_PATH, PrivateEndpoint(private.resume), methods=["POST"]),
        Route(KNOWN_ANSWER_PATH, PrivateEndpoint(private.known_answer), methods=["POST"]),
    ]


def _relevance_routes(services: Services, *, allows_unknown: bool) -> list[Route]:
    relevance = Relevance(services)
    score = PromptEndpoint(
        ScoreRequest, services, relevance.score, id_prefix="score-", allows_unknown=allows_unknown
    )
    rerank = PromptEndpoint(
        RerankRequest, services, relevance.rerank, id_prefix="rerank-", allows_unknown=allows_unknown
    )
    return [
        *(Route(path, score, methods=["POST"]) for path in ("/v1/score", "/score")),
        *(Route(path, rerank, methods=["POST"]) for path in ("/v1/rerank", "/v2/rerank", "/rerank")),
    ]


@dataclasses.dataclass(frozen=True, slots=True)
class Surface:
    """The endpoints that only read."""

    services: Services
    readiness: Readiness

    async def models(self, request: Request) -> Response:
        return json_response(self.services.model.cards())

    async def model(self, request: Request) -> Response:
        return json_response(self.services.model.card(request.path_params["name"]))

    async def livez(self, request: Request) -> Response:
        """The process answers; restarting it would help nobody otherwise."""
        return json_response({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        complaint = await self.readiness.complaint()
        if complaint is None:
            return json_response({"status": "ready"})
        return json_response({"status": "unready", "reason": complaint}, status=503)

    async def version(self, request: Request) -> Response:
        return json_response({"version": __version__})

    async def metrics(self, request: Request) -> Response:
        engine, metrics = self.services.engine, self.services.metrics
        metrics.observe_engine(engine.stats, is_up=engine.is_ready, num_restarts=engine.num_restarts)
        return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE})
