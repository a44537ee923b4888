"""A body is JSON, bounded in bytes and in time, and may never come at all."""

import asyncio
from typing import Any

import httpx2
import msgspec
import pytest
from starlette.types import Message, Scope

from octavo.http.body import ClientGone, not_json, of_shape, read_json_body
from octavo.http.errors import HttpError
from tests.fakes import FakeEngine
from tests.server.serving import serving

pytestmark = pytest.mark.asyncio

PATH = "/v1/completions"


def scope(content_type: str = "application/json", **headers: str) -> Scope:
    named = {"content-type": content_type, **headers}
    return {
        "type": "http",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()],
    }


async def read(request: Scope, *chunks: bytes | None, max_bytes: int = 10) -> bytes:
    """None among the chunks: the client is gone."""
    messages: list[Message] = [
        {"type": "http.disconnect"}
        if chunk is None
        else {"type": "http.request", "body": chunk, "more_body": index + 1 < len(chunks)}
        for index, chunk in enumerate(chunks)
    ]

    async def receive() -> Message:
        return messages.pop(0)

    return await read_json_body(request, receive, max_bytes=max_bytes, timeout_seconds=5.0)


@pytest.mark.parametrize("kind", ("application/json", "Application/JSON; charset=utf-8"))
async def test_chunks_are_one_body(kind: str) -> None:
    assert await read(scope(kind), b"ab", b"", b"cd") == b"abcd"


async def test_the_limit_is_the_last_length_that_is_read() -> None:
    assert await read(scope(content_length="10"), b"x" * 10) == b"x" * 10
    with pytest.raises(HttpError) as caught:
        await read(scope(), b"x" * 6, b"x" * 5)
    assert caught.value.code == "request_too_large"


@pytest.mark.parametrize("length", ("11", "9" * 5000))
async def test_a_length_over_the_limit_is_refused_unread(length: str) -> None:
    with pytest.raises(HttpError) as caught:
        await read(scope(content_length=length))
    assert caught.value.code == "request_too_large"


async def test_a_client_that_leaves_in_between_is_gone() -> None:
    with pytest.raises(ClientGone):
        await read(scope(), b"x", None)


async def test_a_body_that_never_ends_is_given_up() -> None:
    engine = FakeEngine()
    async with serving(engine, body_timeout_seconds=0.05) as (_, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode()
            + b"Content-Length: 9\r\n\r\n{"
        )
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 408") and b'"code":"request_timeout"' in answer


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "it ends too early"),
        (b'{"a":', "it ends too early"),
        (b"{}x", "trailing characters (byte 3)"),
        (b'"\xff"', "a string is not UTF-8"),
        (b"[" * 10_000 + b"]" * 10_000, "it is nested too deeply"),
    ],
)
async def test_what_is_wrong_with_json_is_told_in_our_words(body: bytes, reason: str) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError, RecursionError)) as caught:
        msgspec.json.decode(body)
    refusal = not_json(caught.value)
    assert (str(refusal), refusal.code) == (f"The body is not valid JSON: {reason}.", "invalid_json")


async def test_a_long_chunked_body_is_cut_at_the_limit() -> None:
    async def chunks() -> Any:
        for _ in range(100):
            yield b" " * 1000

    engine = FakeEngine()
    async with serving(engine, max_body_bytes=10_000) as (_, url), httpx2.AsyncClient() as client:
        response = await client.post(
            url + PATH, content=chunks(), headers={"content-type": "application/json"}
        )
    assert response.status_code == 413


@pytest.mark.parametrize(
    ("reason", "expected"),
    (
        ("Expected `float | null`, got `str`", "it: expected a number, got a string."),
        ("Expected `str | array | null`, got `null`", "it: expected a string or a list, got null."),
        ("Expected `int` <= 20", "it: expected an integer <= 20."),
        ("Number out of range", "it: number out of range."),
    ),
)
async def test_what_has_the_wrong_shape_is_told_in_the_words_of_json(reason: str, expected: str) -> None:
    assert of_shape("it", reason) == expected
