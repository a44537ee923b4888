"""A model that was trained on tools calls one, over HTTP: whole and streamed the same."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import openai
import pytest

from tests.e2e.served import Served

MODEL = "qwen2.5-coder-1.5b"
PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "unit": {"enum": ["C", "F"]},
    },
    "required": ["city", "days", "unit"],
    "additionalProperties": False,
}
FUNCTION = {"name": "get_weather", "description": "Weather of a city", "parameters": PARAMETERS}
OTHER = {
    "name": "get_time",
    "description": "Time in a city",
    "parameters": {"type": "object", "properties": {}},
}
TOOLS: Any = [{"type": "function", "function": function} for function in (FUNCTION, OTHER)]
QUESTION: Any = [{"role": "user", "content": "What is the weather in Oslo right now?"}]


@pytest.fixture(scope="module")
def client(smollm2_path: object) -> Iterator[openai.OpenAI]:
    yield from serving()


@pytest.fixture(scope="module")
def trained() -> Iterator[openai.OpenAI]:
    yield from serving(MODEL)


def serving(*model: str) -> Iterator[openai.OpenAI]:
    served = Served.start(*model, "--max-model-len", "1024", "--kv-cache-memory", "256MiB")
    with openai.OpenAI(base_url=served.url, api_key="any", max_retries=0) as client:
        yield client
    served.stop()


def ask(client: openai.OpenAI, **fields: Any) -> list[tuple[str, str, str | None]]:
    """(finish reason, arguments, name) of each call, whole and streamed the same."""
    fields = {"model": "default", "messages": QUESTION, "tools": TOOLS, "max_tokens": 120, **fields}
    whole = client.chat.completions.create(**fields).choices[0]
    with client.chat.completions.stream(**fields) as events:
        for _ in events:
            pass
        streamed = events.get_final_completion().choices[0]
    found = [
        [
            (choice.finish_reason, call.function.arguments, call.function.name)
            for call in choice.message.tool_calls or []
        ]
        for choice in (whole, streamed)
    ]
    assert found[0] == found[1]
    return found[0]


def test_any_model_can_be_held_to_a_call(client: openai.OpenAI) -> None:
    """At a temperature of 1: what comes is as the grammar says, not as the model would like."""
    choice: Any = {"type": "function", "function": {"name": "get_weather"}}
    for seed in range(2):
        ((reason, arguments, name),) = ask(client, tool_choice=choice, temperature=1, seed=seed)
        assert (reason, name) == ("tool_calls", "get_weather")
        jsonschema.validate(json.loads(arguments), PARAMETERS)
        calls = ask(client, tool_choice="required", temperature=1, seed=seed, parallel_tool_calls=False)
        assert len(calls) == 1 and calls[0][2] in ("get_weather", "get_time")


def test_any_model_calls_or_answers_by_the_schema(client: openai.OpenAI) -> None:
    schema = {**PARAMETERS, "properties": {**PARAMETERS["properties"], "city": {"enum": ["Oslo", "Rome"]}}}
    form: Any = {"type": "json_schema", "json_schema": {"name": "weather", "schema": schema}}
    fields: Any = {"model": "default", "messages": QUESTION, "tools": TOOLS[:1], "response_format": form}
    kinds = set()
    for seed in range(6):
        choice = client.chat.completions.create(**fields, temperature=1, seed=seed, max_tokens=120).choices[0]
        if choice.finish_reason == "tool_calls":
            assert choice.message.content is None
        if choice.finish_reason == "stop":
            jsonschema.validate(json.loads(choice.message.content or ""), schema)
        kinds.add(choice.finish_reason)
    assert kinds & {"stop", "tool_calls"}


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_trained_model_calls_a_tool(trained: openai.OpenAI) -> None:
    ((reason, arguments, name), *_) = ask(trained, temperature=0, max_tokens=64)
    assert (reason, name) == ("tool_calls", "get_weather")
    assert json.loads(arguments)["city"] == "Oslo"
