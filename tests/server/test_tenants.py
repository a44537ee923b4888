"""What keys share on the real engine, simulated: prefix-cache blocks (by cached_tokens), and the queue."""

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from octavo.backends.sim.backend import sim_token
from octavo.core.relay import SECRET_HEADER, TENANT_HEADER
from octavo.engine.client import EngineClient
from octavo.http.api_keys import ApiKey
from octavo.http.key_ring import KeyRing
from tests.engine.sim_byte_engine import VOCAB_SIZE
from tests.fakes import ByteTokenizer
from tests.server.serving import serving, sim_engine

pytestmark = pytest.mark.asyncio

PROMPT = "x" * 70  # four full blocks and a rest


@pytest.fixture
def key_ring(tmp_path: pathlib.Path) -> KeyRing:
    path = tmp_path / "keys"
    path.write_text("\n".join(ApiKey.of(f"secret-{name}", name).line for name in ("a", "b")))
    return KeyRing.of(None, path)


@contextlib.asynccontextmanager
async def client_of(engine: EngineClient, **options: Any) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(engine, **options) as (_, url), httpx2.AsyncClient(base_url=url, timeout=60) as client:
        yield client


async def ask(
    client: httpx2.AsyncClient, key: str, headers: dict[str, str] | None = None, **fields: Any
) -> httpx2.Response:
    body = {"model": "tiny", "prompt": PROMPT, "max_tokens": 4, "seed": 7, "ignore_eos": True, **fields}
    return await client.post(
        "/v1/completions", json=body, headers={"api-key": f"secret-{key}", **(headers or {})}
    )


def num_cached(answer: httpx2.Response) -> int:
    assert answer.status_code == 200, answer.text
    cached: int = answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
    return cached


async def test_what_one_key_has_cached_another_does_not_find(key_ring: KeyRing) -> None:
    async with sim_engine() as engine, client_of(engine, key_ring=key_ring) as client:
        assert [num_cached(await ask(client, key)) for key in ("a", "a", "b", "b")] == [0, 64, 0, 64]
        for salt in ("x", "1:a:", "a"):  # no salt leads to another's blocks, a salt of one's own is a scope
            assert [num_cached(await ask(client, "b", cache_salt=salt)) for _ in range(2)] == [0, 64]


async def test_keys_share_blocks_when_the_operator_says_so(key_ring: KeyRing) -> None:
    async with sim_engine() as engine, client_of(engine, key_ring=key_ring, is_cache_shared=True) as client:
        assert [num_cached(await ask(client, key)) for key in ("a", "b")] == [0, 64]


async def test_a_trusted_router_says_whose_request_it_is_and_nobody_else_does() -> None:
    def headers(tenant: str, secret: str) -> dict[str, str]:
        return {TENANT_HEADER.decode(): tenant, SECRET_HEADER.decode(): secret}

    async with sim_engine() as engine, client_of(engine, secret="shared") as client:
        for tenant, expected in (("a", 0), ("b", 0), ("a", 64)):
            assert num_cached(await ask(client, "", headers(tenant, "shared"))) == expected
        assert num_cached(await ask(client, "", headers("a", "guessed"))) == 0


async def test_a_crowd_with_one_key_holds_up_nobody_with_another(key_ring: KeyRing) -> None:
    """The crowd may not take every place, and its requests do not all come before the other's."""
    async with (
        sim_engine(max_num_seqs=2, max_num_queued_requests=88) as engine,
        client_of(engine, key_ring=key_ring) as client,
    ):
        crowd = [asyncio.create_task(ask(client, "a", seed=number, max_tokens=400)) for number in range(80)]
        while engine.num_live < 80:
            await asyncio.sleep(0.001)
        refused = await ask(client, "a")
        other = await ask(client, "b", seed=5)
        assert engine.num_live > 70
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
    tokens = [sim_token(5, 0, len(PROMPT) + index, VOCAB_SIZE) for index in range(4)]
    assert other.json()["choices"][0]["text"] == ByteTokenizer().decode(tokens)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert refused.headers["retry-after"]
