"""The document is complete, and the server answers as it says: schemathesis sends what it allows and more.

A server on the simulated engine, over a socket. Data may hold NUL and any other character.
"""

import asyncio
import collections
import copy
import re
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.applications import Starlette
from starlette.routing import Route

from octavo.core.relay import CHANNEL_PATH, EVENTS_PATH, KNOWN_ANSWER_PATH, MODEL_PATH, RESUME_PATH
from octavo.http.gate import Gate
from octavo.server.openapi import openapi
from tests.engine.sim_byte_engine import VOCAB_SIZE
from tests.fakes import FakeEngine, fake_replica
from tests.over_socket import over_socket
from tests.server.serving import sim_engine

FUZZED = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/score",
    "/rerank",
    "/tokenize",
    "/detokenize",
    "/openai/deployments/{deployment}/completions",
)
EXAMPLES = 20  # of each, in each mode; with --full ten times as many
ANSWER_SECONDS = 60.0  # on a busy machine
NOT_ALONE = {
    *("min_tokens", "max_completion_tokens", "stream_options", "tools", "tool_choice", "top_logprobs"),
    *("suffix", "truncate_prompt_tokens", "bad_words", "reasoning_effort", "chat_template_kwargs"),
    *("best_of", "prompt_logprobs", "dimensions"),
    *("response_format", "structured_outputs", "guided_json", "guided_regex", "guided_choice"),
    *("guided_grammar", "guided_whitespace_pattern"),
}
"""Fields that are allowed only with others, or only by some models."""


class ServerThread:
    """A server in an event loop of its own."""

    def __init__(self) -> None:
        self.url = ""
        self._is_ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "ServerThread":
        self._thread.start()
        assert self._is_ready.wait(60)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        async with sim_engine() as engine:
            replica = fake_replica(engine)
            await replica.readiness.record()
            async with over_socket(replica.app) as served:
                self.url = served.url
                self._is_ready.set()
                await self._end.wait()


@pytest.fixture(scope="module")
def server() -> Iterator[ServerThread]:
    with ServerThread() as server:
        yield server


def schemas_of(document: dict[str, Any]) -> dict[str, Any]:
    schemas: dict[str, Any] = document["components"]["schemas"]
    return schemas


def with_model(document: dict[str, Any]) -> dict[str, Any]:
    """Only names that are served, or every answer would be a 404."""
    document = copy.deepcopy(document)
    for schema in schemas_of(document).values():
        if "model" in schema.get("required", ()):
            schema["properties"]["model"] = {"enum": ["tiny", "default"]}
        elif "model" in schema.get("properties", {}) and "Deployment" not in schema["title"]:
            schema["properties"]["model"] = {"enum": ["tiny", "default", None]}
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = {"enum": ["tiny", "default"]}
    return document


def narrowed(document: dict[str, Any]) -> dict[str, Any]:
    """What depends on the model, and on other fields, is left out, so that most requests are answered."""
    document = with_model(document)
    plain = {"$ref": "#/components/schemas/Plain"}
    for schema in schemas_of(document).values():
        properties = schema.get("properties", {})
        for name in NOT_ALONE & properties.keys():
            del properties[name]
        if "messages" in properties:
            properties["messages"] = {"type": "array", "minItems": 1, "maxItems": 3, "items": plain}
        for name, most in (("max_tokens", 4), ("n", 3)):
            if name in properties:
                properties[name] = {"type": "integer", "minimum": 1, "maximum": most}
        if "max_tokens" in properties:
            schema["required"] = [*schema["required"], "max_tokens"]
    schemas_of(document)["Plain"] = {
        "type": "object",
        "properties": {
            "role": {"enum": ["system", "user"]},
            "content": {"type": "string", "maxLength": 20},
        },
        "required": ["role", "content"],
        "additionalProperties": False,
    }
    score = schemas_of(document)["ScoreRequest"]
    score["required"] = ["model", "text_1", "text_2"]
    score["properties"]["text_1"] = {"type": "string"}
    score["properties"]["text_2"] = {"type": "array", "minItems": 1, "items": {"type": "string"}}
    for name in ("queries", "documents"):
        del score["properties"][name]
    tokenize = schemas_of(document)["TokenizeRequest"]
    tokenize["required"] = ["prompt"]
    tokenize["properties"]["prompt"] = {"type": "string"}
    for name in ("messages", "add_generation_prompt"):
        del tokenize["properties"][name]
    return with_small_token_ids(document)


def with_small_token_ids(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("type") == "integer" and value.get("minimum") == 0 and "maximum" not in value:
            return {**value, "maximum": VOCAB_SIZE - 1}
        if value.get("pattern") == "^[0-9]{1,10}$":
            return {**value, "pattern": "^[1-9][0-9]?$"}
        return {name: with_small_token_ids(item) for name, item in value.items()}
    return [with_small_token_ids(item) for item in value] if isinstance(value, list) else value


def with_integers(value: Any) -> Any:
    """JSON Schema takes 4.0 for an integer, octavo does not."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: with_integers(item) for name, item in value.items()}
    return [with_integers(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def document(server: ServerThread) -> Any:
    load_all_checks()
    return httpx2.get(f"{server.url}/openapi.json").json()


def fuzz(server: ServerThread, document: Any, path: str, mode: GenerationMode, *, is_full: bool) -> list[int]:
    """The statuses of what was sent; every answer is checked against the document."""
    statuses = []
    operation = schemathesis.openapi.from_dict(document)[path]["POST"]

    @hypothesis.settings(
        max_examples=EXAMPLES * (10 if is_full else 1), suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        if mode is GenerationMode.POSITIVE:
            case.body = with_integers(case.body)
        response = case.call(base_url=server.url, timeout=ANSWER_SECONDS)
        case.validate_response(response, excluded_checks=[positive_data_acceptance])
        statuses.append(response.status_code)

    ask()
    return statuses


@pytest.mark.parametrize("path", FUZZED)
def test_what_the_document_allows_is_answered(
    server: ServerThread, document: Any, path: str, pytestconfig: pytest.Config
) -> None:
    is_full = pytestconfig.getoption("--full")
    statuses = fuzz(server, narrowed(document), path, GenerationMode.POSITIVE, is_full=is_full)
    assert statuses.count(200) > len(statuses) / 2, collections.Counter(statuses)
    assert set(statuses) <= {200, 400}


@pytest.mark.parametrize("path", FUZZED)
def test_what_it_does_not_allow_is_refused(
    server: ServerThread, document: Any, path: str, pytestconfig: pytest.Config
) -> None:
    is_full = pytestconfig.getoption("--full")
    statuses = fuzz(server, with_model(document), path, GenerationMode.NEGATIVE, is_full=is_full)
    assert not [status for status in statuses if status < 400 or status >= 500]


@pytest.mark.full
@pytest.mark.parametrize("path", FUZZED)
def test_whatever_the_types_allow_is_answered_or_refused(
    server: ServerThread, document: Any, path: str
) -> None:
    fuzz(server, document, path, GenerationMode.POSITIVE, is_full=True)


@pytest.mark.asyncio
async def test_every_public_route_is_in_the_document() -> None:
    gate = fake_replica(FakeEngine()).app
    assert isinstance(gate, Gate) and isinstance(gate.app, Starlette)
    there = {
        (method.lower(), re.sub(r":\w+}", "}", route.path))
        for route in gate.app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    described = {(method, path) for path, methods in openapi()["paths"].items() for method in methods}
    asked = {("get", path) for path in (MODEL_PATH, EVENTS_PATH, CHANNEL_PATH)}
    private = asked | {("post", path) for path in (RESUME_PATH, KNOWN_ANSWER_PATH, CHANNEL_PATH)}
    ways_to_the_page = {("get", "/"), ("get", "/v1")}
    assert there == described | private | ways_to_the_page


def test_every_field_says_what_it_is_and_names_of_operations_are_unique() -> None:
    document = openapi()
    for name in ("ChatRequest", "CompletionRequest"):
        properties = document["components"]["schemas"][name]["properties"]
        assert all(field["description"] for field in properties.values())
        assert properties["temperature"]["anyOf"][0] == {"type": "number", "minimum": 0, "maximum": 2}
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert document["paths"]["/v1/completions"]["post"]["responses"]["429"]["description"]
