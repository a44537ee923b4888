"""Routes: what is there, what is not, and what it says."""

import asyncio
import json

import openai
import pytest

from octavo import __version__
from octavo.core.messages import RequestOutput
from octavo.core.request import FinishReason
from tests.fakes import END_ID, MAX_MODEL_LEN, FakeEngine, fake_replica
from tests.server.serving import asgi_client, serving

pytestmark = pytest.mark.asyncio


async def test_every_name_of_the_model_is_listed() -> None:
    async with asgi_client(fake_replica(FakeEngine())) as client:
        listed = (await client.get("/v1/models")).json()
        assert [card["id"] for card in listed["data"]] == ["tiny", "alias", "default"]
        assert listed["object"] == "list"
        card = (await client.get("/v1/models/default")).json()
    assert card == listed["data"][2]
    assert (card["object"], card["root"], card["max_model_len"]) == ("model", "tiny", MAX_MODEL_LEN)


async def test_a_model_that_is_not_there_is_not_found() -> None:
    async with asgi_client(fake_replica(FakeEngine())) as client:
        response = await client.get("/v1/models/meta/llama")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("path", ("/api/tags", "/v2", "/%2e%2e/etc"))
async def test_an_unknown_path_is_not_found(path: str) -> None:
    async with asgi_client(fake_replica(FakeEngine())) as client:
        response = await client.get(path)
    assert response.status_code == 404
    error = response.json()["error"]
    assert error["code"] == "not_found" and response.url.path in error["message"]
    assert "GET /docs" in error["message"]


@pytest.mark.parametrize("path", ("/chat/completions", "/v1/v1/chat/completions", "/v1/chat/completions/"))
async def test_a_path_that_is_almost_right_is_told_the_right_one(path: str) -> None:
    async with asgi_client(fake_replica(FakeEngine())) as client:
        response = await client.post(path)
    assert response.status_code == 404
    expected = f"There is nothing at '{path}'; the nearest path is /v1/chat/completions."
    assert response.json()["error"]["message"] == expected


@pytest.mark.parametrize("path", ("/", "/v1"))
async def test_who_opens_the_address_in_a_browser_comes_to_the_page(path: str) -> None:
    async with asgi_client(fake_replica(FakeEngine())) as client:
        response = await client.get(path, follow_redirects=True)
    assert (response.status_code, response.url.path) == (200, "/docs")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    (
        ("GET", "/v1/chat/completions", {"POST"}),
        ("OPTIONS", "/v1/completions", {"POST"}),
        ("POST", "/v1/models", {"GET", "HEAD"}),
        ("DELETE", "/metrics", {"GET", "HEAD"}),
    ),
)
async def test_a_wrong_method_is_told_the_right_ones(method: str, path: str, allowed: set[str]) -> None:
    async with asgi_client(fake_replica(FakeEngine())) as client:
        response = await client.request(method, path)
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == allowed
    error = response.json()["error"]
    assert error["code"] == "method_not_allowed"
    assert error["message"] == f"{method} is not a method of {path}; allowed: {response.headers['allow']}."


async def test_livez_and_version_ask_nobody() -> None:
    engine = FakeEngine()
    engine.is_ready = False
    async with asgi_client(fake_replica(engine)) as client:
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/version")).json() == {"version": __version__}


async def test_metrics_follow_the_engine() -> None:
    engine = FakeEngine()
    replica = fake_replica(engine)
    async with asgi_client(replica) as client:
        await client.post("/v1/completions", json={"model": "tiny", "prompt": "hi"})
        engine.num_restarts = 2
        response = await client.get("/metrics")
    labels = '{engine="0",model_name="tiny"}'
    assert response.headers["content-type"].startswith("text/plain")
    assert f"octavo:engine_restarts_total{labels} 2.0" in response.text
    assert f"vllm:time_to_first_token_seconds_count{labels} 1.0" in response.text
    assert f"vllm:inter_token_latency_seconds_count{labels} 4.0" in response.text
    assert f"vllm:request_generation_tokens_sum{labels} 5.0" in response.text


async def test_a_defect_of_ours_is_a_500_that_tells_nothing() -> None:
    replica = fake_replica(FakeEngine())

    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("secret detail")

    replica.engine.submit = broken  # type: ignore[assignment, method-assign]
    async with asgi_client(replica) as client:
        response = await client.post("/v1/completions", json={"model": "tiny", "prompt": "hi"})
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "secret" not in response.text
    assert response.headers["x-request-id"]


async def test_what_is_recorded_or_unknown_is_named_in_a_header_and_logged() -> None:
    replica = fake_replica(FakeEngine(), allows_unknown_fields=True)
    body = {"model": "tiny", "prompt": "hi", "user": "u1", "store": False, "an odd\r\nname": 1}
    async with asgi_client(replica) as client:
        response = await client.post("/v1/completions", json=body)
    assert response.status_code == 200
    assert response.headers["x-octavo-ignored"] == "user, an?odd??name"
    entry = json.loads(replica.log.getvalue())
    assert (entry["recorded"], entry["ignored"]) == ({"user": "u1"}, ["user", "an odd??name"])


async def test_without_them_there_is_no_such_header() -> None:
    async with asgi_client(fake_replica(FakeEngine())) as client:
        response = await client.post("/v1/completions", json={"model": "tiny", "prompt": "hi"})
    assert "x-octavo-ignored" not in response.headers


async def test_a_salt_and_stop_tokens_reach_the_engine() -> None:
    engine = FakeEngine()
    async with asgi_client(fake_replica(engine)) as client:
        body = {"model": "tiny", "prompt": "hi", "cache_salt": "s", "stop_token_ids": [5]}
        assert (await client.post("/v1/completions", json=body)).status_code == 200
    assert engine.submitted[0].salt.endswith(":s") and engine.submitted[0].sampling.stop_token_ids == (5,)


async def test_control_tokens_appear_when_asked_for() -> None:
    engine = FakeEngine(None)
    async with asgi_client(fake_replica(engine)) as client:
        for skips, expected in ((True, "a"), (False, "a<end>")):
            engine.arrived.clear()
            body = {"model": "tiny", "prompt": "hi", "skip_special_tokens": skips}
            asking = asyncio.create_task(client.post("/v1/completions", json=body))
            await engine.arrived.wait()
            engine.streams[-1].accept(RequestOutput("", 0, [97, END_ID], FinishReason.STOP), now=0.0)
            assert (await asking).json()["choices"][0]["text"] == expected


async def test_azures_client_needs_its_endpoint_only() -> None:
    async with (
        serving(FakeEngine(b"yes"), api_key="secret") as (_, url),
        openai.AsyncAzureOpenAI(
            azure_endpoint=url, api_key="secret", api_version="2024-10-21", max_retries=0
        ) as client,
    ):
        answer = await client.chat.completions.create(
            model="alias", messages=[{"role": "user", "content": "hi"}]
        )
        text = await client.completions.create(model="alias", prompt="hi")
        models = [card.id async for card in client.models.list()]
        with pytest.raises(openai.NotFoundError):
            await client.completions.create(model="other", prompt="hi")
    assert models == ["tiny", "alias", "default"]
    assert (answer.model, answer.choices[0].message.content, text.choices[0].text) == ("alias", "yes", "yes")


async def test_azures_v1_is_ours() -> None:
    async with (
        serving(FakeEngine(b"yes"), api_key="secret") as (_, url),
        openai.AsyncOpenAI(base_url=f"{url}/openai/v1/", api_key="secret", max_retries=0) as client,
    ):
        answer = await client.completions.create(model="tiny", prompt="hi")
        models = await client.models.list()
    assert answer.choices[0].text == "yes"
    assert [model.id for model in models.data] == ["tiny", "alias", "default"]
