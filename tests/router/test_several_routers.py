"""Routers beside each other, and one that is started anew, in front of real engines on the `sim` back end.

What one has learned all know, since the replicas tell it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx2
import pytest

from octavo.router.wiring import RunningRouter
from tests.over_socket import over_socket
from tests.router.test_run import options
from tests.server.serving import serving, sim_engine

pytestmark = pytest.mark.asyncio

SECRET = "shared"
PROMPTS = [f"Document {number} has the following text. " * 14 for number in range(6)]


@contextlib.asynccontextmanager
async def routing(*urls: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A router, once it follows the cache of every replica."""
    router = RunningRouter.of(options(*urls), lambda sentence: None)
    router.start()
    async with over_socket(router.app) as served, httpx2.AsyncClient(base_url=served.url) as client:
        async with asyncio.timeout(20):
            while any(endpoint.cached_blocks is None for endpoint in router.endpoints.endpoints):
                await asyncio.sleep(0.01)
        yield client
        router.stop()


async def ask(client: httpx2.AsyncClient, prompt: str) -> tuple[str, int, int]:
    """(endpoint, cached tokens as the router expected, as the replica says)."""
    body = {"model": "default", "prompt": prompt, "max_tokens": 1}
    response = await client.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    route = dict(part.split("=") for part in response.headers["x-octavo-route"].split("; "))
    cached = response.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
    return route["endpoint"], int(route["cached"]), cached


async def test_all_routers_and_a_new_one_know_where_a_prompt_is_cached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OCTAVO_SECRET", SECRET)
    async with (
        sim_engine() as one,
        sim_engine() as two,
        serving(one, secret=SECRET) as (_, url_of_one),
        serving(two, secret=SECRET) as (_, url_of_two),
    ):
        urls = url_of_one, url_of_two
        async with routing(*urls) as client, routing(*urls) as beside:
            first = [await ask(client, prompt) for prompt in PROMPTS]
            homes = [endpoint for endpoint, _, _ in first]
            assert set(homes) == {"r0", "r1"} and not any(cached for _, _, cached in first)
            for asked in (client, beside):
                again = [await ask(asked, prompt) for prompt in PROMPTS]
                assert [endpoint for endpoint, _, _ in again] == homes
                assert all(expected > 0 and cached > 400 for _, expected, cached in again)
        async with routing(*urls) as anew:
            again = [await ask(anew, prompt) for prompt in PROMPTS]
            assert [endpoint for endpoint, _, _ in again] == homes
            assert all(expected > 0 and cached > 400 for _, expected, cached in again)
