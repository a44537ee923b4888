"""From a request's fields to the grammar for the engine, and how what is wrong with it comes back."""

import asyncio
import json
from typing import Any

import pytest

from octavo.core.errors import InvalidRequestError
from octavo.core.grammar_spec import GrammarKind, GrammarSpec, Reasoning
from octavo.core.messages import RequestOutput
from octavo.core.request import FinishReason
from octavo.server.decoder import BodyDecoder
from octavo.server.parameters import Api, parameters_of
from octavo.server.schema import CompletionRequest
from octavo.text.chat_abilities import ChatAbilities
from octavo.text.reasoning import ReasoningTags
from tests.fakes import FakeEngine, fake_replica, send
from tests.server.serving import asgi_client

SCHEMA = {"type": "object", "properties": {"b": {"type": "integer"}, "a": {"const": 1.5}}}
TEXT = json.dumps(SCHEMA, separators=(",", ":"))
TAG: dict[str, Any] = {"structures": [{"begin": "<a>", "schema": {}, "end": "</a>"}], "triggers": ["<a"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}


def grammar(**fields: Any) -> GrammarSpec | None:
    body = json.dumps({"model": "m", "prompt": "p", **fields}).encode()
    decoder = BodyDecoder(CompletionRequest, parameters_of(Api.COMPLETIONS))
    return decoder.decode(body).request.grammar()


def refusal(**fields: Any) -> tuple[str, str | None]:
    with pytest.raises(InvalidRequestError) as refused:
        grammar(**fields)
    return str(refused.value), refused.value.param


@pytest.mark.parametrize(
    ("fields", "kind", "text", "field", "whitespace"),
    [
        ({"response_format": {"type": "json_object"}}, "json_object", "", "response_format", None),
        ({"response_format": FORMAT}, "json_schema", TEXT, "response_format.json_schema.schema", None),
        ({"structured_outputs": {"json": SCHEMA}}, "json_schema", TEXT, "structured_outputs.json", None),
        ({"structured_outputs": {"json": TEXT}}, "json_schema", TEXT, "structured_outputs.json", None),
        ({"structured_outputs": {"regex": "a+"}}, "regex", "a+", "structured_outputs.regex", None),
        (
            {"structured_outputs": {"choice": ["a", "b"], "disable_fallback": True}},
            "choice",
            '["a","b"]',
            "structured_outputs.choice",
            None,
        ),
        (
            {"structured_outputs": {"grammar": "start: A"}},
            "lark",
            "start: A",
            "structured_outputs.grammar",
            None,
        ),
        (
            {"structured_outputs": {"json_object": True}},
            "json_object",
            "",
            "structured_outputs.json_object",
            None,
        ),
        (
            {"structured_outputs": {"structural_tag": "{}"}},
            "structural_tag",
            "{}",
            "structured_outputs.structural_tag",
            None,
        ),
        (
            {"structured_outputs": {"json": {}, "whitespace_pattern": " *"}},
            "json_schema",
            "{}",
            "structured_outputs.json",
            " *",
        ),
        (
            {"structured_outputs": {"json": {}, "disable_any_whitespace": True}},
            "json_schema",
            "{}",
            "structured_outputs.json",
            "",
        ),
        (
            {"guided_json": SCHEMA, "guided_whitespace_pattern": "", "guided_decoding_backend": "outlines"},
            "json_schema",
            TEXT,
            "guided_json",
            "",
        ),
        ({"guided_regex": "a"}, "regex", "a", "guided_regex", None),
        ({"guided_choice": ["\u00e9"]}, "choice", '["\u00e9"]', "guided_choice", None),
        ({"guided_grammar": "root ::= x"}, "lark", "root ::= x", "guided_grammar", None),
    ],
)
def test_fields_are_one_grammar(
    fields: dict[str, Any], kind: str, text: str, field: str, whitespace: str | None
) -> None:
    spec = grammar(**fields)
    assert spec == GrammarSpec(GrammarKind(kind), text, whitespace=whitespace)
    assert spec is not None and spec.field == field


def test_a_structural_tag_is_passed_on() -> None:
    spec = grammar(response_format={"type": "structural_tag", **TAG})
    assert spec is not None and spec.kind is GrammarKind.STRUCTURAL_TAG
    assert json.loads(spec.text) == {"type": "structural_tag", **TAG}
    newer = {"type": "structural_tag", "format": {"type": "any_text"}}
    spec = grammar(structural_tag=json.dumps(newer))
    assert spec is not None and (spec.kind, json.loads(spec.text)) == (GrammarKind.STRUCTURAL_TAG, newer)
    spec = grammar(response_format=newer)
    assert spec is not None and json.loads(spec.text) == newer


def test_white_space_is_that_of_whatever_has_json() -> None:
    spec = grammar(response_format=FORMAT, guided_whitespace_pattern=" *")
    assert spec is not None and spec.whitespace == " *"


@pytest.mark.parametrize(
    "fields", [{}, {"response_format": {"type": "text"}}, {"guided_json": None}], ids=str
)
def test_without_them_anything_may_be_answered(fields: dict[str, Any]) -> None:
    assert grammar(**fields) is None


@pytest.mark.parametrize(
    ("fields", "message", "param"),
    [
        (
            {"response_format": FORMAT, "guided_json": {}},
            "both say what the answer must look like",
            "guided_json",
        ),
        (
            {"structured_outputs": {"json": {}, "regex": "a"}},
            "structured_outputs.json and structured_outputs.regex both",
            "structured_outputs.regex",
        ),
        ({"structured_outputs": {}}, "structured_outputs says nothing of the answer", "structured_outputs"),
        (
            {"guided_whitespace_pattern": " "},
            "only with an answer that has JSON",
            "guided_whitespace_pattern",
        ),
        ({"response_format": {"type": "xml"}}, "'xml'", "response_format.type"),
        ({"response_format": {}}, "response_format.type is missing", "response_format.type"),
        (
            {"response_format": {"type": "json_schema"}},
            "response_format.json_schema is missing",
            "response_format.json_schema",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema is missing",
            "response_format.json_schema.schema",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": []}}},
            "expected an object, got a list",
            "response_format.json_schema.schema",
        ),
        (
            {"response_format": {"type": "structural_tag", "tags": []}},
            "response_format.tags is not a parameter",
            "response_format.tags",
        ),
        (
            {"structured_outputs": {"json": {}, "disable_additional_properties": True}},
            "is true; the schema itself",
            "structured_outputs.disable_additional_properties",
        ),
        (
            {"guided_regex": "a", "guided_whitespace_pattern": " "},
            "only with an answer that has JSON",
            "guided_whitespace_pattern",
        ),
        (
            {"structured_outputs": {"choice": ["a"], "disable_any_whitespace": True}},
            "only with an answer that has JSON",
            "structured_outputs.disable_any_whitespace",
        ),
        (
            {"structured_outputs": {"json": {}, "disable_any_whitespace": True, "whitespace_pattern": " "}},
            "only where there is any",
            "structured_outputs.whitespace_pattern",
        ),
        ({"structured_outputs": {}, "guided_whitespace_pattern": " "}, "says nothing", "structured_outputs"),
        ({"guided_json": {}, "structural_tag": {}}, "both say", "structural_tag"),
        ({"guided_choice": "a"}, "expected a list, got a string", "guided_choice"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], message: str, param: str) -> None:
    found, named = refusal(**fields)
    assert message in found and named == param


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("content", "reasoning"),
    [("p", Reasoning("</think>", "<think>")), ("p<think>", Reasoning("</think>")), ("p</think>", None)],
)
async def test_a_model_that_reasons_may_do_so_first(content: str, reasoning: Reasoning | None) -> None:
    """The prompt ends with the message: it may have begun the reasoning, or ended it."""
    engine = FakeEngine()
    abilities = ChatAbilities(reasoning=ReasoningTags("<think>", "</think>"))
    body = {"model": "default", "messages": [{"role": "user", "content": content}], "guided_regex": "a+"}
    async with asgi_client(fake_replica(engine, abilities=abilities)) as client:
        response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200
    assert [submit.grammar for submit in engine.submitted] == [
        GrammarSpec(GrammarKind.REGEX, "a+", reasoning=reasoning)
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_the_engines_refusal_is_a_400_that_names_the_field(path: str, is_stream: bool) -> None:
    engine = FakeEngine(answer=None)
    replica = fake_replica(engine)
    body = {"model": "default", "n": 2, "guided_regex": "(", "stream": is_stream}
    body |= {"prompt": "p"} if path == "/v1/completions" else {"messages": [{"role": "user", "content": "p"}]}

    async def refuse() -> None:
        await engine.arrived.wait()
        for stream in engine.streams:
            refused = RequestOutput(
                "x", 0, [], FinishReason.ERROR, "unclosed group", error_code="invalid_value"
            )
            stream.accept(refused, now=1.0)

    async with asgi_client(replica) as client:
        response, _ = await asyncio.gather(client.post(path, json=body), refuse())
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == "guided_regex" and error["message"] == "guided_regex: unclosed group"
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_value")
    assert [submit.grammar for submit in engine.submitted] == [GrammarSpec(GrammarKind.REGEX, "(")] * 2


@pytest.mark.asyncio
@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_grammar_that_turns_out_too_complex_is_the_requests_error(has_begun: bool) -> None:
    engine = FakeEngine(answer=None)
    body = {"model": "default", "prompt": "p", "guided_regex": "a+", "stream": True}

    async def fail() -> None:
        await engine.arrived.wait()
        (stream,) = engine.streams
        if has_begun:
            send(stream, b"a")
            await asyncio.sleep(0.01)
        failed = RequestOutput("x", int(has_begun), [], FinishReason.ERROR, "too many states")
        failed.error_code = "grammar_too_complex"
        stream.accept(failed, now=1.0)

    async with asgi_client(fake_replica(engine)) as client:
        response, _ = await asyncio.gather(client.post("/v1/completions", json=body), fail())
    assert response.status_code == (200 if has_begun else 400)
    *_, last = response.text.strip().removeprefix("data: ").split("\n\ndata: ")
    error = json.loads(last)["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "grammar_too_complex")
    assert (error["message"], error["param"]) == ("guided_regex: too many states", "guided_regex")
