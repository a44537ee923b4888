"""What an answer says of itself when it is asked."""

import json
from typing import Any

import httpx2
import pytest

from tests.fakes import FakeEngine, fake_replica
from tests.server.serving import asgi_client

pytestmark = pytest.mark.asyncio

ASKED = {"model": "tiny", "octavo": {"explain": True}}
CHAT = {**ASKED, "messages": [{"role": "user", "content": "hi"}]}
COMPLETION = {**ASKED, "prompt": "hi", "n": 2, "seed": 5, "top_k": 3}


async def post(path: str, body: dict[str, Any]) -> httpx2.Response:
    async with asgi_client(fake_replica(FakeEngine(b"yes"))) as client:
        return await client.post(path, json=body)


def chunks(response: httpx2.Response) -> list[dict[str, Any]]:
    return [json.loads(event[6:]) for event in response.text.split("\n\n") if event.startswith("data: {")]


async def test_time_tokens_seed_and_parameters() -> None:
    told = (await post("/v1/completions", COMPLETION)).json()["octavo"]
    assert told["seed"] == 5
    sampling = told["sampling"]
    assert (sampling["top_k"], sampling["max_tokens"], sampling["temperature"]) == (3, 16, 1.0)
    for index, choice in enumerate(told["choices"]):
        assert choice.pop("decode_seconds") >= 0
        assert choice == {
            "index": index,
            "queue_seconds": 0.25,
            "prefill_seconds": 0.5,
            "num_prompt_tokens": 2,
            "num_cached_tokens": 2,
            "num_output_tokens": 3,
            "num_preemptions": 0,
            "num_steps": 3,
        }


@pytest.mark.parametrize(("path", "body"), (("/v1/completions", COMPLETION), ("/v1/chat/completions", CHAT)))
@pytest.mark.parametrize("includes_usage", (False, True))
async def test_in_a_stream_it_is_the_last_chunk(
    path: str, body: dict[str, Any], includes_usage: bool
) -> None:
    options = {"stream": True, "stream_options": {"include_usage": includes_usage}}
    *others, last = chunks(await post(path, {**body, **options}))
    assert last["choices"] == [] and last["octavo"]["choices"][0]["num_output_tokens"] == 3
    assert ("usage" in last) is includes_usage
    assert not any("octavo" in chunk for chunk in others)


async def test_the_seed_that_was_drawn_is_told() -> None:
    whole = (await post("/v1/chat/completions", CHAT)).json()["octavo"]["seed"]
    assert (
        isinstance(whole, int)
        and whole != (await post("/v1/chat/completions", CHAT)).json()["octavo"]["seed"]
    )


async def test_who_does_not_ask_is_told_nothing() -> None:
    for octavo in (None, {}, {"explain": False}):
        assert "octavo" not in (await post("/v1/chat/completions", {**CHAT, "octavo": octavo})).json()
    refused = await post("/v1/chat/completions", {**CHAT, "octavo": {"why": True}})
    assert refused.json()["error"]["param"] == "octavo.why"


@pytest.mark.parametrize(("path", "body"), (("/v1/completions", COMPLETION), ("/v1/chat/completions", CHAT)))
async def test_every_chunk_has_the_usage_of_its_choice_so_far(path: str, body: dict[str, Any]) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    found = chunks(await post(path, {**body, "octavo": None, "stream": True, "stream_options": options}))
    *others, last = found
    for index in range(body.get("n", 1)):
        mine = [chunk["usage"] for chunk in others if chunk["choices"][0]["index"] == index]
        counts = [usage["completion_tokens"] for usage in mine]
        assert counts == sorted(counts) and counts[-1] == 3
        assert {usage["prompt_tokens"] for usage in mine} == {last["usage"]["prompt_tokens"]}
        assert all(u["total_tokens"] == u["prompt_tokens"] + u["completion_tokens"] for u in mine)
    assert last["usage"]["completion_tokens"] == 3 * body.get("n", 1)


async def test_a_text_that_looks_like_an_end_of_a_chunk_stays() -> None:
    answer = b'x,"usage":null}\n\n'
    options = {"include_usage": True, "continuous_usage_stats": True}
    async with asgi_client(fake_replica(FakeEngine(answer))) as client:
        body = {"model": "tiny", "prompt": "hi", "stream": True, "stream_options": options, "max_tokens": 40}
        response = await client.post("/v1/completions", json=body)
    texts = [chunk["choices"][0]["text"] for chunk in chunks(response) if chunk["choices"]]
    assert "".join(texts).encode() == answer
