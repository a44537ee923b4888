"""Errors as the openai SDK raises them: which exception, and what it says of the request."""

import asyncio
import pathlib
from collections.abc import AsyncIterator

import openai
import pytest
import pytest_asyncio

from octavo.core.errors import EngineError
from octavo.http.api_keys import ApiKey, KeyLimits
from octavo.http.key_ring import KeyRing
from tests.fakes import MAX_MODEL_LEN, FakeEngine, send
from tests.server.serving import serving

pytestmark = pytest.mark.asyncio

KEY = "a-key-of-twenty-letters"
MESSAGES = [{"role": "user", "content": "hi"}]


def sdk(url: str, key: str = KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


@pytest_asyncio.fixture
async def client() -> AsyncIterator[openai.AsyncOpenAI]:
    async with serving(FakeEngine(), api_key=KEY) as (_, url), sdk(url) as client:
        yield client


@pytest.mark.parametrize(
    ("fields", "kind", "param", "code"),
    (
        ({"model": "gpt-4o"}, openai.NotFoundError, "model", "model_not_found"),
        ({"temperature": 9}, openai.BadRequestError, "temperature", "invalid_value"),
        ({"extra_body": {"zebra": 1}}, openai.BadRequestError, "zebra", "unknown_parameter"),
        ({"max_tokens": MAX_MODEL_LEN}, openai.BadRequestError, "max_tokens", "context_length_exceeded"),
        (
            {"audio": {"voice": "a", "format": "mp3"}},
            openai.BadRequestError,
            "audio",
            "unsupported_parameter",
        ),
        (
            {"extra_headers": {"Content-Type": "text/plain"}},
            openai.APIStatusError,
            None,
            "unsupported_media_type",
        ),
        ({"extra_query": {"q": "a" * 9000}}, openai.APIStatusError, None, "url_too_long"),
        ({"extra_headers": {"x": "a" * 40_000}}, openai.APIStatusError, None, "headers_too_large"),
    ),
)
async def test_a_refusal_has_code_param_and_the_request_s_id(
    client: openai.AsyncOpenAI, fields: dict[str, object], kind: type[openai.APIStatusError],
    param: str | None, code: str,
) -> None:  # fmt: skip
    with pytest.raises(kind) as caught:
        await client.chat.completions.create(**{"model": "tiny", "messages": MESSAGES, **fields})
    error = caught.value
    assert (error.param, error.code, error.type) == (param, code, "invalid_request_error")
    assert error.request_id and error.request_id == error.response.headers["x-request-id"]
    assert error.response.headers["x-should-retry"] == "false"


async def test_a_wrong_key_is_an_authentication_error() -> None:
    async with serving(FakeEngine(), api_key=KEY) as (_, url), sdk(url, "another") as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.models.list()
    assert (caught.value.code, caught.value.status_code) == ("invalid_api_key", 401)


async def test_a_limit_is_a_rate_limit_error_that_says_how_long_to_wait(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "keys"
    file.write_text(ApiKey.of(KEY, "limited", KeyLimits(requests_per_minute=1)).line)
    async with serving(FakeEngine(), key_ring=KeyRing.of(None, file)) as (_, url), sdk(url) as client:
        await client.completions.create(model="tiny", prompt="a")
        with pytest.raises(openai.RateLimitError) as caught:
            await client.completions.create(model="tiny", prompt="a")
    headers = caught.value.response.headers
    assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "rate_limit_error")
    assert 1 <= int(headers["retry-after"]) <= 60 and headers["x-should-retry"] == "true"


async def test_a_failure_in_mid_stream_is_raised_with_its_code() -> None:
    engine = FakeEngine(None)
    async with serving(engine) as (_, url), sdk(url) as client:
        create = client.chat.completions.create
        asking = asyncio.create_task(create(model="tiny", messages=MESSAGES, stream=True))
        await engine.arrived.wait()
        send(engine.streams[-1], b"ab")
        chunks = await asking
        engine.streams[-1].fail(EngineError("The engine failed."))
        with pytest.raises(openai.APIError) as caught:
            async for _ in chunks:
                pass
    assert (caught.value.code, caught.value.type, caught.value.message) == (
        *("engine_error", "server_error", "The engine failed."),
    )
