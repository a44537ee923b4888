"""What a connection makes of a request does not depend on those before, nor on how it is cut into packets."""

import asyncio
import contextlib
import dataclasses
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from octavo.http.repeated_head import (
    MAX_HEAD_BYTES,
    MAX_LEARNED,
    Recognized,
    RepeatedHead,
    RepeatedHeads,
    once,
)
from tests.over_socket import over_socket

PLAIN = b"POST /v1/x?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nAccept: \t*/* \r\n\r\n"
FIELDS: tuple[tuple[bytes, bytes], ...] = (
    (b"host", b"x"),
    (b"content-length", b"5"),
    (b"accept", b"*/*"),
)
# Heads of which some may be taken for others, and some mean another end of body or connection.
HEADS = (
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nX-Request-Id: one\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: x\r\nX: a\r\ncontent-length:%d\r\nConnection: keep-alive\r\n\r\n",
    b"POST /ab HTTP/1.1\r\nHost: x\r\nX: Content-Length: 3\r\nCONTENT-LENGTH:   00%d \r\n\r\n",
    b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
    b"\r\nPOST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
)
BODIES = (
    b"",
    b"{}",
    b"x" * 9,
    b"y" * 10,
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n",
    b"\r\n\r\n",
)
EXPECTING = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


def scope(**fields: Any) -> Scope:
    return {"http_version": "1.1", "method": "POST", "headers": list(FIELDS), **fields}


def learned(head: bytes = PLAIN, **fields: Any) -> RepeatedHead | None:
    body = b"12345" if head.endswith(b"\r\n\r\n") else b""
    return RepeatedHead.of(head + body, scope(**fields))


def test_a_head_is_recognized_with_another_length() -> None:
    head = learned(path="/v1/x")
    assert head is not None
    packet = PLAIN.replace(b" 5", b" 12")
    found = head.recognize(packet + b"{")
    assert found is not None and found.scope["path"] == "/v1/x"
    assert found.scope["headers"] == [FIELDS[0], (b"content-length", b"12"), FIELDS[2]]
    assert (found.num_head_bytes, found.num_body_bytes) == (len(packet), 12)


@pytest.mark.parametrize(
    "packet",
    (
        PLAIN[:-1],
        PLAIN.replace(b"a=b", b"a=c"),
        PLAIN.replace(b"Accept", b"accept"),
        PLAIN.replace(b" 5", b" -5"),
        PLAIN.replace(b" 5", b" +5"),
        PLAIN.replace(b" 5", b" 5_5"),
        PLAIN.replace(b" 5", b" "),
        PLAIN.replace(b" 5", b" 1234567890"),
        PLAIN.replace(b" 5", "\u0665".encode()),
        PLAIN.replace(b" 5\r\n", b" 5\n\r\n"),
        PLAIN.replace(b" 5\r\n", b" 5\r\nContent-Length: 6\r\n"),
    ),
)
def test_what_differs_elsewhere_is_for_the_parser(packet: bytes) -> None:
    head = learned()
    assert head is not None and head.recognize(packet) is None


@pytest.mark.parametrize(
    ("head", "fields"),
    (
        (PLAIN.replace(b"POST", b"PUT"), {}),
        (b"\r\n" + PLAIN, {}),
        (PLAIN[:-5], {}),  # the packet ended there: the line may go on, and more may come
        (PLAIN, {"http_version": "1.0"}),
        (PLAIN.replace(b"Accept", b" Accept"), {}),  # goes on with the line before
        (PLAIN.replace(b"Accept: \t*/*", b"Accept: *\n/*"), {}),
        (PLAIN[:-2] + b"X: %b\r\n\r\n" % (b"x" * MAX_HEAD_BYTES), {}),
        *(
            (PLAIN[:-2] + b"%b: %b\r\n\r\n" % field, {"headers": [*FIELDS, field]})
            for field in (
                (b"connection", b"close"),
                (b"connection", b"keep-alive, upgrade"),
                (b"transfer-encoding", b"chunked"),
                (b"expect", b"100-continue"),
                (b"upgrade", b"h2c"),
                (b"content-length", b"5"),
                (b"x", b"x" * MAX_HEAD_BYTES),
            )
        ),
    ),
)
def test_what_may_mean_more_is_not_learned(head: bytes, fields: dict[str, Any]) -> None:
    assert learned(head, **fields) is None


def test_who_never_says_the_same_is_learned_from_a_few_times() -> None:
    heads = RepeatedHeads()
    for number in range(MAX_LEARNED + 1):
        packet = PLAIN.replace(b"a=b", b"a=%d" % number)
        assert heads.recognize(packet) is None
        heads.learn(scope())
    assert heads.recognize(packet) is None
    assert heads.recognize(PLAIN.replace(b"a=b", b"a=%d" % (MAX_LEARNED - 1))) is not None


def test_what_is_found_out_about_a_repeated_head_is_remembered() -> None:
    asked: list[object] = []

    def find(scope: Scope) -> int:
        asked.append(scope["headers"])
        if not scope["headers"][0][1]:
            raise ValueError
        return len(asked)

    assert [once(scope(), find) for _ in range(2)] == [1, 2]
    head = learned()
    assert head is not None
    again = [found.scope for found in (head.recognize(PLAIN), head.recognize(PLAIN)) if found is not None]
    assert [once(one, find) for one in again] == [3, 3]


async def tell(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the request, as the application sees it."""
    body, has_more = b"", True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, has_more = body + message["body"], message["more_body"]
    seen = {name: scope[name] for name in ("method", "path", "http_version")}
    answer = json.dumps([seen, [[str(field) for field in header] for header in scope["headers"]], str(body)])
    headers = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer.encode()})


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator["Connection"]:
    connection = Connection(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield connection
    finally:
        connection.writer.close()


@dataclasses.dataclass
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes, cuts: Sequence[int] = ()) -> None:
        places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
        for start, end in itertools.pairwise(places):
            self.writer.write(data[start:end])
            for _ in range(3):  # then the server has read it
                await asyncio.sleep(0)

    async def answer(self) -> tuple[bytes, Any]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return head, json.loads(await self.reader.readexactly(length))


whole = st.one_of(
    st.tuples(st.sampled_from(HEADS), st.sampled_from(BODIES)).map(lambda one: one[0] % len(one[1]) + one[1]),
    st.sampled_from((CHUNKED, GET)),
)


@given(requests=st.lists(whole, min_size=3, max_size=12), cuts=st.lists(st.integers(0, 1 << 20), max_size=12))
def test_a_connection_that_is_kept_makes_of_each_request_what_a_new_one_does(
    requests: list[bytes], cuts: list[int]
) -> None:
    async def run() -> None:
        alone = []
        async with over_socket(tell) as served:
            for request in requests:
                async with connected(served.port) as connection:
                    await connection.send(request)
                    alone.append(await connection.answer())
            async with connected(served.port) as connection:
                for request, expected in zip(requests, alone, strict=True):
                    await connection.send(request, cuts[:2])
                    assert await connection.answer() == expected
            async with connected(served.port) as connection:
                await connection.send(b"".join(requests), cuts)
                assert [await connection.answer() for _ in requests] == alone

    asyncio.run(run())


@pytest.mark.asyncio
async def test_what_another_head_asks_for_is_not_taken_to_be_asked_again() -> None:
    plain, asking = HEADS[0] % 2 + b"{}", EXPECTING % 2 + b"{}"
    async with over_socket(tell) as served, connected(served.port) as connection:
        for request in (plain, plain, asking, plain):
            await connection.send(request)
            if request is asking:
                assert await connection.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert (await connection.answer())[0].startswith(b"HTTP/1.1 200 ")


@pytest.mark.asyncio
async def test_a_client_that_repeats_itself_is_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the test above would see nothing of it."""
    recognized: list[bool] = []

    def recognize(self: RepeatedHeads, packet: bytes) -> Recognized | None:
        found = plain(self, packet)
        recognized.append(found is not None)
        return found

    plain = RepeatedHeads.recognize
    monkeypatch.setattr(RepeatedHeads, "recognize", recognize)
    async with over_socket(tell) as served, connected(served.port) as connection:
        for body in (*BODIES[:3], *BODIES):
            await connection.send(HEADS[0] % len(body))  # as many clients do
            await connection.send(body)
            _, (_, _, seen) = await connection.answer()
            assert seen == str(body)
    assert recognized == [False] + [True] * 7
