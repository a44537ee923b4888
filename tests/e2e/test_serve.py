"""`octavo serve` on the built-in model, by the openai SDK: answers, deaths of the engine, drain."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Literal

import openai
import pydantic
import pytest

from tests.e2e.served import Served

CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]
NUM_STREAMS = 16
LONG_LIST = {"type": "array", "items": {"type": "string", "maxLength": 12}, "minItems": 50}


@pytest.fixture(scope="module")
def served(smollm2_path: object) -> Iterator[Served]:
    server = Served.start("--kv-cache-memory", "512MiB", "--max-model-len", "1024")
    yield server
    assert server.stop() == 0


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=served.url, api_key="none", max_retries=0) as client:
        yield client


def test_the_capital_of_france(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="default", messages=CAPITAL, temperature=0)
    assert answer.choices[0].message.content == "The capital of France is Paris."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == 8


def test_a_stream_adds_up_to_the_whole_answer(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="default", prompt="1, 2, 3,", temperature=0, max_tokens=20)
    stream = client.completions.create(
        model="default", prompt="1, 2, 3,", temperature=0, max_tokens=20, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    assert chunks[-1].usage == whole.usage or chunks[-1].usage.completion_tokens == 20


class City(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=30)
    country: Literal["France", "Italy"]
    population: int | None = pydantic.Field(ge=0, le=40_000_000)
    tags: list[str] = pydantic.Field(max_length=3)


def test_an_answer_parses_into_a_model_of_pydantic(client: openai.OpenAI) -> None:
    question = [{"role": "user", "content": "Describe a city as JSON."}]
    for seed in range(2):
        answer = client.chat.completions.parse(
            model="default", messages=question, response_format=City, temperature=1, seed=seed, max_tokens=400
        )
        choice = answer.choices[0]
        assert choice.finish_reason == "stop" and isinstance(choice.message.parsed, City)
        with client.chat.completions.stream(
            model="default", messages=question, response_format=City, temperature=1, seed=seed, max_tokens=400
        ) as stream:
            streamed = stream.get_final_completion()
        assert streamed.choices[0].message.parsed == choice.message.parsed


def test_a_schema_that_is_not_supported_is_named(client: openai.OpenAI) -> None:
    schema = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with pytest.raises(openai.BadRequestError, match="'uniqueItems' at # is not supported") as refused:
        client.chat.completions.create(model="default", messages=CAPITAL, response_format=form)
    assert refused.value.param == "response_format.json_schema.schema"


def test_a_seed_decides_the_answer(client: openai.OpenAI) -> None:
    def story(seed: int) -> str:
        create = client.completions.create
        return create(model="default", prompt="Once", max_tokens=24, seed=seed, temperature=1).choices[0].text

    assert story(5) == story(5) != story(6)


async def stream_all(
    url: str, disturb: Callable[[int], Awaitable[None]] | None = None, max_tokens: int = 60
) -> list[str]:
    """NUM_STREAMS answers at once, every fourth of them JSON; disturb gets the number of chunks so far."""
    num_chunks = 0

    async def one(client: openai.AsyncOpenAI, number: int) -> str:
        nonlocal num_chunks
        text = []
        extra = {"ignore_eos": True} | ({"guided_json": LONG_LIST} if number % 4 == 3 else {})
        stream = await client.completions.create(
            model="default", prompt=f"Chapter {number}. The road to", max_tokens=max_tokens, seed=number,
            temperature=0.8 if number % 2 else 0, stream=True, extra_body=extra,
        )  # fmt: skip
        async for chunk in stream:
            num_chunks += 1
            text.append(chunk.choices[0].text)
            if disturb is not None:
                await disturb(num_chunks)
        return "".join(text)

    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        return await asyncio.gather(*(one(client, number) for number in range(NUM_STREAMS)))


def test_the_engine_killed_twice_under_sixteen_streams_costs_nobody_anything(served: Served) -> None:
    undisturbed = asyncio.run(stream_all(served.url))
    kill_at = [NUM_STREAMS * 10, NUM_STREAMS * 35]

    async def disturb(num_chunks: int) -> None:
        if kill_at and num_chunks >= kill_at[0]:
            del kill_at[0]
            served.kill_engine()

    first = served.engine_pid()
    assert asyncio.run(stream_all(served.url, disturb)) == undisturbed
    assert not kill_at and served.engine_pid() != first


def test_sigterm_lets_running_answers_finish(smollm2_path: object) -> None:
    server = Served.start("--kv-cache-memory", "256MiB", "--max-model-len", "512")
    asked = []

    async def stop_early(num_chunks: int) -> None:
        if not asked:
            asked.append(num_chunks)
            server.process.terminate()

    texts = asyncio.run(stream_all(server.url, stop_early, max_tokens=20))
    exit_code = server.stop()
    assert all(texts) and exit_code == 0
