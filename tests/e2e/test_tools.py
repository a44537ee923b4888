"""A model that was trained on tools calls one, over HTTP: whole and streamed the same."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.e2e.served import Served

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

MODEL = "qwen2.5-coder-1.5b"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "get_weather", "description": "Current weather of a city", "parameters": PARAMETERS}
QUESTION: Any = [{"role": "user", "content": "What is the weather in Oslo right now?"}]


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    served = Served.start(MODEL, "--max-model-len", "1024", "--kv-cache-memory", "256MiB")
    with openai.OpenAI(base_url=served.url, api_key="any", max_retries=0) as client:
        yield client
    served.stop()


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    tools = [{"type": "function", "function": FUNCTION}]
    fields = {"model": "default", "messages": QUESTION, "tools": tools, "temperature": 0, **fields}
    return client.chat.completions.create(max_tokens=64, **fields).choices[0]


def test_a_trained_model_calls_a_tool(client: openai.OpenAI) -> None:
    choice = ask(client)
    (call,) = choice.message.tool_calls
    assert (choice.finish_reason, call.function.name) == ("tool_calls", "get_weather")
    assert json.loads(call.function.arguments)["city"] == "Oslo"
    with client.chat.completions.stream(
        model="default",
        messages=QUESTION,
        tools=[{"type": "function", "function": FUNCTION}],  # type: ignore[list-item]
        temperature=0,
        max_tokens=64,
    ) as events:
        for _ in events:
            pass
        streamed = events.get_final_completion().choices[0].message
    assert streamed.tool_calls is not None
    assert streamed.tool_calls[0].function.arguments == call.function.arguments
