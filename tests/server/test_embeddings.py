"""Embeddings as OpenAI's own client reads them, and what is done to the engine's vectors."""

import base64
import json
from typing import Any

import httpx2
import numpy as np
import openai
import pytest

from octavo.core.errors import InvalidRequestError
from octavo.core.request import Pooling
from octavo.server.embeddings import MAX_INPUTS, embedding_of
from tests.fakes import MAX_MODEL_LEN, FakeEngine, fake_replica
from tests.server.serving import asgi_client, serving


def normal(*values: float) -> list[float]:
    length = sum(value * value for value in values) ** 0.5
    return pytest.approx([value / length for value in values])


async def post(engine: FakeEngine, **fields: Any) -> httpx2.Response:
    async with asgi_client(fake_replica(engine)) as client:
        return await client.post("/v1/embeddings", json={"model": "tiny", **fields})


@pytest.mark.asyncio
@pytest.mark.parametrize("encoding_format", ("float", "base64", openai.omit))
async def test_openais_client_reads_either_encoding(encoding_format: Any) -> None:
    engine = FakeEngine()
    async with (
        serving(engine) as (_, url),
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client,
    ):
        answer = await client.embeddings.create(
            model="alias", input=["ab", "c"], encoding_format=encoding_format
        )
    assert (answer.object, answer.model) == ("list", "alias")
    if encoding_format == "base64":  # asked for, so left as it is
        vectors = [np.frombuffer(base64.b64decode(str(item.embedding)), "<f4") for item in answer.data]
    else:
        vectors = [np.array(item.embedding) for item in answer.data]
    assert [vector.tolist() for vector in vectors] == [normal(98, 1), normal(99, 1)]
    assert [(item.index, item.object) for item in answer.data] == [(0, "embedding"), (1, "embedding")]
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (3, 3)


@pytest.mark.asyncio
async def test_each_kind_of_input() -> None:
    engine = FakeEngine()
    for given in ("ab", [97, 98], [[97, 98]], ["ab"]):
        response = await post(engine, input=given, normalize=False)
        assert response.json()["data"][0]["embedding"] == [98, 1]
    mean = await post(engine, input="ac", pooling="mean", normalize=False, dimensions=1)
    assert mean.json()["data"][0]["embedding"] == [98]
    assert [submitted.pooling for submitted in engine.submitted] == [Pooling.LAST] * 4 + [Pooling.MEAN]
    cut = await post(engine, input="x" * 3 * MAX_MODEL_LEN, truncate_prompt_tokens=-1)
    assert cut.json()["usage"]["prompt_tokens"] == MAX_MODEL_LEN - 1


@pytest.mark.asyncio
async def test_what_is_refused() -> None:
    for fields, param in (
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": "x" * MAX_MODEL_LEN}, "input"),
        ({"input": ["a"] * (MAX_INPUTS + 1)}, "input"),
        ({"input": [[1], "a"]}, "input"),
        ({"input": "a", "dimensions": 3}, "dimensions"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "pooling": "cls"}, "pooling"),
        ({"input": "a", "truncate_prompt_tokens": 0}, "truncate_prompt_tokens"),
        ({"input": "a", "zebra": 1}, "zebra"),
        ({}, "input"),
    ):
        response = await post(FakeEngine(), **fields)
        error = response.json()["error"]
        assert (response.status_code, error["param"]) == (400, param), error
    assert (await post(FakeEngine(), input="a", model="other")).status_code == 404


@pytest.mark.asyncio
async def test_many_inputs_are_computed_in_their_order() -> None:
    engine = FakeEngine()
    response = await post(engine, input=[[index % 257] for index in range(MAX_INPUTS)], normalize=False)
    assert [item["embedding"][0] for item in response.json()["data"]] == [i % 257 for i in range(MAX_INPUTS)]
    assert len({submitted.request_id for submitted in engine.submitted}) == MAX_INPUTS


@pytest.mark.asyncio
async def test_azures_path() -> None:
    async with asgi_client(fake_replica(FakeEngine())) as client:
        response = await client.post("/openai/deployments/tiny/embeddings", json={"input": "a"})
        assert response.status_code == 200 and json.loads(response.content)["model"] == "tiny"


def test_the_first_dimensions_are_scaled_to_length_one() -> None:
    vector = np.array([3, 4, 12], "<f4")
    assert embedding_of(vector, 2, is_normal=True).tolist() == pytest.approx([0.6, 0.8])
    assert embedding_of(vector, None, is_normal=False).tolist() == [3, 4, 12]
    assert embedding_of(vector * 0, None, is_normal=True).tolist() == [0, 0, 0]
    with pytest.raises(InvalidRequestError, match="allowed: 1 to 3"):
        embedding_of(vector, 4, is_normal=True)
