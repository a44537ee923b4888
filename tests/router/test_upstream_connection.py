"""Answers on a connection to an endpoint: whole and streamed bodies, and every way to be let down."""

import asyncio

import pytest

from octavo.router import upstream_connection
from octavo.router.address import Address
from octavo.router.upstream import Upstream
from octavo.router.upstream_connection import Answer, UpstreamError
from tests.deaf import deafen
from tests.router import fake_server
from tests.router.fake_server import EVENTS, FakeServer
from tests.router.posting import JSON, STREAM, post

pytestmark = pytest.mark.asyncio


async def test_a_whole_answer(server: FakeServer, client: Upstream) -> None:
    answer = await post(client)
    assert answer.status == 200 and answer.header(b"content-type") == b"application/json"
    assert await answer.read_all(5.0, 100) == b'{ "whole":   "answer" }'
    (received,) = server.received
    assert (received.path, received.body, received.headers["x-a"]) == ("/v1/completions", JSON, "b")
    assert received.headers["host"] == f"127.0.0.1:{server.port}"


async def test_a_stream_ends_where_it_ends(client: Upstream) -> None:
    answer = await post(client, STREAM)
    assert await answer.read_all(5.0, 1000) == b"".join(EVENTS)


async def test_an_endpoint_whose_machine_vanishes_is_not_waited_for(server: FakeServer) -> None:
    """One behind a balancer, say, whose health another machine vouches for."""

    async def vanish(request: fake_server.Received, writer: asyncio.StreamWriter) -> None:
        deafen(writer.get_extra_info("socket"))
        await asyncio.Event().wait()

    server.behaviour = vanish
    client = Upstream(Address.parse(server.url), silence_seconds=1)
    with pytest.raises(UpstreamError, match="cut off"):
        await post(client, seconds=30.0)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    ((fake_server.cut, "cut"), (fake_server.stall, "timeout"), (fake_server.garbage, "garbage")),
)
async def test_no_answer_has_a_reason(
    server: FakeServer, client: Upstream, behaviour: object, reason: str
) -> None:
    server.behaviour = behaviour  # type: ignore[assignment]
    with pytest.raises(UpstreamError) as caught:
        await post(client, seconds=0.1)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    (
        (fake_server.cut_in_mid_stream, "cut"),
        (fake_server.cut_in_mid_body, "cut"),
        (fake_server.stall_in_mid_stream, "timeout"),
    ),
)
async def test_half_an_answer_is_never_a_whole_one(
    server: FakeServer, client: Upstream, behaviour: object, reason: str
) -> None:
    server.behaviour = behaviour  # type: ignore[assignment]
    answer = await post(client)
    with pytest.raises(UpstreamError) as caught:
        await answer.read_all(0.1, 1000)
    assert caught.value.reason == reason


async def test_an_answer_that_is_too_long_is_refused(client: Upstream) -> None:
    answer = await post(client)
    with pytest.raises(UpstreamError, match="longer than 5 bytes"):
        await answer.read_all(5.0, 5)


async def test_a_body_without_a_length_ends_with_its_connection(server: FakeServer, client: Upstream) -> None:
    async def behave(request: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nto the end")
        await writer.drain()
        writer.close()
        await asyncio.sleep(0.05)

    server.behaviour = behave
    assert await (await post(client)).read_all(5.0, 100) == b"to the end"


async def test_what_nobody_reads_is_not_read_from_the_socket(
    server: FakeServer, client: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_connection, "MAX_BUFFERED_BYTES", 1000)
    sent = []

    async def behave(request: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 50000000\r\n\r\n")
        for _ in range(500):
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent.append(1)

    server.behaviour = behave
    answer = await post(client)
    await asyncio.sleep(0.1)
    assert len(sent) < 500
    assert len(await answer.read_all(5.0, 1 << 30)) == 50_000_000


async def passed_on(answer: Answer, seconds: float = 5.0) -> bytes:
    taken: list[bytes] = []

    def take(data: bytes) -> bool:
        taken.append(data)
        return True

    assert not await answer.pass_on(take, seconds)
    return b"".join(taken)


async def test_a_stream_is_passed_on_whole_and_its_connection_kept(
    server: FakeServer, client: Upstream
) -> None:
    for _ in range(2):
        assert await passed_on(await post(client, STREAM)) == b"".join(EVENTS)
    assert server.num_connections == 1


@pytest.mark.parametrize("comes_at_once", (True, False))
async def test_who_has_enough_is_given_nothing_more(
    server: FakeServer, client: Upstream, comes_at_once: bool
) -> None:
    async def behave(request: object, writer: asyncio.StreamWriter) -> None:
        await fake_server.stream(writer, EVENTS[:1])
        chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in EVENTS[1:]]
        for part in [b"".join(chunks)] if comes_at_once else chunks:
            await asyncio.sleep(0.005)
            writer.write(part)
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    server.behaviour = behave
    answer, taken = await post(client, STREAM), []

    def take(data: bytes) -> bool:
        taken.append(data)
        return False

    rounds = 0
    while await answer.pass_on(take, 5.0):
        rounds += 1
        await asyncio.sleep(0.01)
        assert len(taken) == rounds
    assert rounds > 1 and b"".join(taken) == b"".join(EVENTS)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    ((fake_server.cut_in_mid_stream, "cut"), (fake_server.stall_in_mid_stream, "timeout")),
)
async def test_what_is_passed_on_breaks_off_with_a_reason(
    server: FakeServer, client: Upstream, behaviour: object, reason: str
) -> None:
    server.behaviour = behaviour  # type: ignore[assignment]
    with pytest.raises(UpstreamError) as caught:
        await passed_on(await post(client, STREAM), 0.1)
    assert caught.value.reason == reason


async def test_a_stream_that_goes_on_is_not_late(server: FakeServer, client: Upstream) -> None:
    async def behave(request: object, writer: asyncio.StreamWriter) -> None:
        await fake_server.stream(writer, EVENTS[:1])
        for _ in range(20):
            await asyncio.sleep(0.02)
            writer.write(b"1\r\nx\r\n")
        writer.write(b"0\r\n\r\n")

    server.behaviour = behave
    assert await passed_on(await post(client, STREAM), 0.3) == EVENTS[0] + b"x" * 20


@pytest.mark.parametrize("rest", (b"1\r\nx\r\n", b"1\r\nx\r\n1\r\ny\r\n0\r\n\r\n"))
@pytest.mark.parametrize("is_first", (True, False))
async def test_what_the_taker_raises_is_raised(
    server: FakeServer, client: Upstream, is_first: bool, rest: bytes
) -> None:
    num_taken = 0

    async def behave(request: object, writer: asyncio.StreamWriter) -> None:
        await fake_server.stream(writer, EVENTS[:1])
        await asyncio.sleep(0.01)
        writer.write(rest)

    def take(data: bytes) -> bool:
        nonlocal num_taken
        num_taken += 1
        if is_first or num_taken == 2:
            raise KeyError("nothing to do with HTTP")
        return True

    server.behaviour = behave
    answer = await post(client, STREAM)
    with pytest.raises(KeyError):
        await answer.pass_on(take, 5.0)
    assert num_taken == (1 if is_first else 2)
    answer.close()
