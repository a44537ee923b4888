"""Routes: what is there, what is not, and what it says."""

import pytest

from octavo import __version__
from tests.fakes import MAX_MODEL_LEN, FakeEngine, fake_replica
from tests.server.serving import asgi_client

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


@pytest.mark.parametrize("path", ("/", "/v1", "/v1/embeddings", "//v1//models", "/v1/chat/completions/"))
async def test_an_unknown_path_is_not_found(path: str) -> None:
    async with asgi_client(fake_replica(FakeEngine())) as client:
        response = await client.get(path)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"


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
    assert response.json()["error"]["code"] == "method_not_allowed"


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
