"""The public API as an OpenAPI 3.1 document, made of the types that bodies are decoded to, the table of
parameters and the table of errors.
"""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import msgspec

from octavo import __version__
from octavo.core.sampling_params import (
    MAX_BIAS,
    MAX_LOGIT_BIAS,
    MAX_REPETITION_PENALTY,
    MAX_SEED,
    MAX_STOP_STRING_LENGTH,
    MAX_STOP_STRINGS,
    MIN_REPETITION_PENALTY,
)
from octavo.http.error_codes import ERROR_CODES
from octavo.server import answers
from octavo.server.embeddings import MAX_INPUTS, EmbeddingList, EmbeddingRequest
from octavo.server.messages import ROLES
from octavo.server.parameters import PARAMETERS, Api, Kind, Parameter
from octavo.server.prompts import MAX_PROMPTS
from octavo.server.relevance import MAX_DOCUMENTS, Ranking, RerankRequest, ScoreList, ScoreRequest
from octavo.server.schema import ChatRequest, CompletionRequest
from octavo.server.tokenization import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeRequest,
    TokenizeResponse,
)

Json = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    path: str
    summary: str
    answer: type | str  # its JSON, or another content type
    body: type | None = None  # then it is a POST
    can_stream: bool = False


CHAT = Operation(
    "/v1/chat/completions",
    "Answer a conversation",
    answers.ChatCompletion,
    ChatRequest,
    can_stream=True,
)
COMPLETIONS = Operation(
    "/v1/completions", "Continue prompts", answers.TextCompletion, CompletionRequest, can_stream=True
)
EMBEDDINGS = Operation("/v1/embeddings", "Vectors of texts", EmbeddingList, EmbeddingRequest)
_SCORE = "How well texts answer queries"
_RERANK = "Documents in the order of their relevance to a query"
MODELS = Operation("/v1/models", "The names the model is served under", answers.ModelList)
MODEL = Operation("/v1/models/{name}", "One of them", answers.ModelCard)
OPERATIONS = (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    *(Operation(path, _SCORE, ScoreList, ScoreRequest) for path in ("/v1/score", "/score")),
    *(Operation(path, _RERANK, Ranking, RerankRequest) for path in ("/v1/rerank", "/v2/rerank", "/rerank")),
    MODELS,
    MODEL,
    Operation("/tokenize", "A prompt or messages as token ids", TokenizeResponse, TokenizeRequest),
    Operation("/detokenize", "Token ids as text", DetokenizeResponse, DetokenizeRequest),
    Operation("/livez", "Whether the process answers", answers.Status),
    Operation("/readyz", "Whether a request would be answered, and rightly", answers.Status),
    Operation("/health", "The same as /readyz", answers.Status),
    Operation("/version", "octavo's version", answers.Version),
    Operation("/metrics", "Prometheus metrics", "text/plain"),
    Operation("/openapi.json", "This document", "application/json"),
    Operation("/docs", "The same for people", "text/html"),
)
AZURE = {
    "/openai/v1": (CHAT, COMPLETIONS, EMBEDDINGS, MODELS, MODEL),
    "/openai/deployments/{deployment}": (CHAT, COMPLETIONS, EMBEDDINGS),
    "/openai": (MODELS, MODEL),
}
"""Where else these are: the prefix stands for /v1, and a deployment's name for the model's."""

_TOKEN_ID: Json = {"type": "integer", "minimum": 0}
_TOKEN_IDS: Json = {"type": "array", "items": _TOKEN_ID, "minItems": 1}
_STOP: Json = {"minLength": 1, "maxLength": MAX_STOP_STRING_LENGTH}
_TEXT: Json = {"type": "string", "minLength": 1}
_BOUNDS: dict[str, dict[str, Json]] = {
    "messages": {"array": {"minItems": 1}},
    "max_tokens": {"integer": {"minimum": 0}},
    "max_completion_tokens": {"integer": {"minimum": 0}},
    "min_tokens": {"integer": {"minimum": 0}},
    "temperature": {"number": {"minimum": 0, "maximum": 2}},
    "top_p": {"number": {"exclusiveMinimum": 0, "maximum": 1}},
    "top_k": {"integer": {"minimum": -1}},
    "min_p": {"number": {"minimum": 0, "maximum": 1}},
    "n": {"integer": {"minimum": 1, "maximum": MAX_PROMPTS}},
    "presence_penalty": {"number": {"minimum": -2, "maximum": 2}},
    "frequency_penalty": {"number": {"minimum": -2, "maximum": 2}},
    "repetition_penalty": {"number": {"minimum": MIN_REPETITION_PENALTY, "maximum": MAX_REPETITION_PENALTY}},
    "seed": {"integer": {"minimum": -MAX_SEED - 1, "maximum": MAX_SEED}},
    "stop": {"string": _STOP, "array": {"items": {"type": "string", **_STOP}, "maxItems": MAX_STOP_STRINGS}},
    "stop_token_ids": {"array": {"items": _TOKEN_ID}},
    "allowed_token_ids": {"array": _TOKEN_IDS},
    "logit_bias": {
        "object": {
            "propertyNames": {"pattern": "^[0-9]{1,10}$"},
            "additionalProperties": {"type": "number", "minimum": -MAX_BIAS, "maximum": MAX_BIAS},
            "maxProperties": MAX_LOGIT_BIAS,
        }
    },
}
"""What is checked beside types, as JSON Schema says it: by field, and kind of value."""


def _prompts(most: int) -> Json:
    """Texts or token ids, alone or in a list."""
    lists: list[Json] = [
        {"type": "array", "items": item, "minItems": 1, "maxItems": most} for item in (_TEXT, _TOKEN_IDS)
    ]
    return {"anyOf": [_TEXT, _TOKEN_IDS, *lists]}


_PRIVATE_STATUSES = frozenset((409, 502, 504))  # of routers, and between them and servers


def openapi() -> Json:
    """The whole document."""
    types = [type_ for op in OPERATIONS for type_ in (op.body, op.answer) if isinstance(type_, type)]
    _, schemas = msgspec.json.schema_components(
        [*dict.fromkeys(types), answers.Error], ref_template="#/components/schemas/{name}"
    )
    schemas["ChatMessage"]["properties"]["role"] = {"enum": list(ROLES)}
    schemas["CompletionRequest"]["properties"]["prompt"] = _prompts(MAX_PROMPTS)
    schemas["EmbeddingRequest"]["properties"]["input"] = _prompts(MAX_INPUTS)
    schemas["RerankRequest"]["properties"]["documents"] |= {"minItems": 1, "maxItems": MAX_DOCUMENTS}
    schemas["EmbeddingRequestOfDeployment"] = _without_model(schemas["EmbeddingRequest"])
    schemas["DetokenizeRequest"]["properties"]["tokens"]["items"] = _TOKEN_ID
    for body, api in ((ChatRequest, Api.CHAT), (CompletionRequest, Api.COMPLETIONS)):
        described = _described(schemas[body.__name__], api)
        schemas[body.__name__] = described
        schemas[f"{body.__name__}OfDeployment"] = _without_model(described)
    return {
        "openapi": "3.1.0",
        "info": {"title": "octavo", "version": __version__, "description": _ABOUT},
        "paths": dict(_paths()),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "azure": {"type": "apiKey", "in": "header", "name": "api-key"},
                "anthropic": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "security": [{}, {"bearer": []}, {"azure": []}, {"anthropic": []}],
    }


_EVENT: Json = {
    "description": "Server-sent events. data is a chunk of the answer as JSON, an error, or [DONE].",
    "type": "object",
    "properties": {"data": {"type": "string"}},
    "required": ["data"],
}
_ABOUT = "OpenAI's API, served by octavo. A key is needed where the server was given one."


def _described(schema: Json, api: Api) -> Json:
    """With what the table of parameters says, and the parameters that only some values pass."""
    schema = copy.deepcopy(schema)
    properties = schema["properties"]
    for parameter in PARAMETERS:
        if api not in parameter.apis:
            continue
        known = properties.get(parameter.name)
        if parameter.kind is Kind.REFUSED:
            if known is None:
                properties[parameter.name] = {"enum": [*_neutral(parameter), None]}
            properties[parameter.name]["description"] = f"Not supported: {parameter.about}."
        else:
            assert known is not None, f"{parameter.name} is in the table and not in the type"
            _bound(known, _BOUNDS.get(parameter.name, {}))
            default = f" Default: {parameter.default}." if parameter.default else ""
            known["description"] = f"{parameter.about[0].upper()}{parameter.about[1:]}.{default}"
    return schema


def _neutral(parameter: Parameter) -> list[object]:
    return [value for value in parameter.neutral if value is not None]


def _bound(schema: Json, bounds: dict[str, Json]) -> None:
    for alternative in schema.get("anyOf", [schema]):
        alternative.update(bounds.get(alternative.get("type"), {}))


def _without_model(schema: Json) -> Json:
    required = [name for name in schema["required"] if name != "model"]
    return {**schema, "title": f"{schema['title']}OfDeployment", "required": required}


def _paths() -> Iterator[tuple[str, Json]]:
    for operation in OPERATIONS:
        yield operation.path, _path(operation)
    for prefix, operations in AZURE.items():
        for operation in operations:
            yield prefix + operation.path.removeprefix("/v1"), _path(operation, prefix)


def _path(operation: Operation, prefix: str = "") -> Json:
    path = prefix + operation.path
    described: Json = {
        "operationId": path.strip("/").replace("/", "_").replace("{", "").replace("}", "").replace(".", "_"),
        "summary": operation.summary + (" (Azure's spelling)" if prefix else ""),
        "responses": {"200": _response(operation), **_errors()},
    }
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    if names:
        schema = {"type": "string", "minLength": 1}
        described["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": schema} for name in names
        ]
    if operation.body is None:
        return {"get": described}
    name = operation.body.__name__ + ("OfDeployment" if "deployment" in names else "")
    described["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(name)}}}
    return {"post": described}


def _response(operation: Operation) -> Json:
    if isinstance(operation.answer, str):
        content: Json = {operation.answer: {}}
    else:
        content = {"application/json": {"schema": _ref(operation.answer.__name__)}}
    if operation.can_stream:
        content["text/event-stream"] = {"schema": _EVENT}
    return {"description": operation.summary, "content": content}


def _errors() -> Json:
    found: Json = {}
    for code, error in ERROR_CODES.items():
        if error.status not in _PRIVATE_STATUSES:
            described = found.setdefault(
                str(error.status),
                {"description": "", "content": {"application/json": {"schema": _ref("Error")}}},
            )
            joint = "; " if described["description"] else ""
            described["description"] += f"{joint}{code}: {error.meaning}"
    return found


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
