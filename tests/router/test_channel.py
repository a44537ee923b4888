"""Answers that come in two parts, by a channel and by their own connection, in any order and cut anywhere."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from octavo.core.channel import SIGN_OF_LIFE, FrameError, Ticket, frame
from octavo.router import channel
from octavo.router.address import Address
from octavo.router.channel import Channel
from octavo.router.upstream import Question, Upstream
from octavo.router.upstream_connection import Answer, UpstreamError
from tests.router.fake_server import FakeServer, Received, fake_servers

pytestmark = pytest.mark.asyncio

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n%btransfer-encoding: chunked\r\n\r\n"
BY_CHANNEL = HEAD % b"x-octavo-channel: 1\r\n"
END = b"0\r\n\r\n"
CUT = UpstreamError("cut", "the channel was cut off")
Act = Callable[[Channel, int, asyncio.StreamWriter], Awaitable[None]]


class Replica:
    """Whose answers a test writes: to the connection, and as if they came by the channel."""

    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.upstream = Upstream(Address.parse(server.url))
        self.channel = self.upstream.channel = Channel("0" * 32)

    async def ask(self, act: Act, *, takes_channel: bool = True) -> Answer:
        async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
            header = received.headers.get("x-octavo-channel", "")
            ticket = Ticket.parse(header)
            assert (ticket is not None) == takes_channel
            await act(self.channel, 0 if ticket is None else ticket.number, writer)
            await writer.drain()

        self.server.behaviour = behave
        question = Question("POST", "/v1/completions", (), b"{}", 5.0, takes_channel=takes_channel)
        return await self.upstream.ask(question)


@pytest_asyncio.fixture
async def replica() -> AsyncIterator[Replica]:
    async with fake_servers(1) as (server,):
        replica = Replica(server)
        yield replica
        replica.upstream.close()


async def turn() -> None:
    """Long enough for what was written to be read."""
    await asyncio.sleep(0.02)


async def taken(answer: Answer, seconds: float = 5.0) -> list[bytes]:
    pieces: list[bytes] = []

    def take(data: bytes) -> bool:
        pieces.append(data)
        return True

    assert not await answer.pass_on(take, seconds)
    return pieces


async def connection_ends_last(channel: Channel, number: int, writer: asyncio.StreamWriter) -> None:
    writer.write(BY_CHANNEL)
    await turn()
    channel.feed(frame(number, b"one") + frame(SIGN_OF_LIFE))
    await turn()
    channel.feed(frame(number, b"two") + frame(number))
    await turn()
    writer.write(END)


async def channel_ends_last(channel: Channel, number: int, writer: asyncio.StreamWriter) -> None:
    writer.write(BY_CHANNEL + END)
    await turn()
    channel.feed(frame(number, b"one"))
    await turn()
    channel.feed(frame(number, b"two") + frame(number))


async def channel_comes_before_the_head(channel: Channel, number: int, writer: asyncio.StreamWriter) -> None:
    channel.feed(frame(number, b"one") + frame(number, b"two") + frame(number))
    await turn()
    writer.write(BY_CHANNEL + END)


async def connection_goes_on(channel: Channel, number: int, writer: asyncio.StreamWriter) -> None:
    writer.write(BY_CHANNEL)
    channel.feed(frame(number, b"one") + frame(number))
    await turn()
    writer.write(b"3\r\ntwo\r\n" + END)


async def connection_is_ahead(channel: Channel, number: int, writer: asyncio.StreamWriter) -> None:
    writer.write(BY_CHANNEL + b"3\r\ntwo\r\n")
    await turn()
    channel.feed(frame(number, b"one") + frame(number))
    await turn()
    writer.write(END)


async def channel_is_not_taken(channel: Channel, number: int, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD % b"" + b"3\r\none\r\n")
    await turn()
    writer.write(b"3\r\ntwo\r\n" + END)


IN_ANY_ORDER = (
    connection_ends_last,
    channel_ends_last,
    channel_comes_before_the_head,
    connection_goes_on,
    connection_is_ahead,
    channel_is_not_taken,
)


@pytest.mark.parametrize("act", IN_ANY_ORDER)
async def test_an_answer_is_whole_when_both_its_parts_are(replica: Replica, act: Act) -> None:
    for _ in range(2):
        assert b"".join(await taken(await replica.ask(act))) == b"onetwo"
        assert replica.channel.num_streams == 0
    assert replica.server.num_connections == 1


async def test_what_is_not_asked_for_by_the_channel_gets_no_ticket(replica: Replica) -> None:
    answer = await replica.ask(channel_is_not_taken, takes_channel=False)
    assert b"".join(await taken(answer)) == b"onetwo"


async def test_a_connection_may_end_after_its_part(replica: Replica) -> None:
    async def act(channel: Channel, number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(BY_CHANNEL.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n") + END)
        await writer.drain()
        writer.close()
        await turn()
        channel.feed(frame(number, b"one") + frame(number))

    assert await taken(await replica.ask(act)) == [b"one"]


async def ends_nowhere(channel: Channel, number: int, writer: asyncio.StreamWriter) -> None:
    writer.write(BY_CHANNEL)
    channel.feed(frame(number, b"one"))
    await writer.drain()
    await asyncio.sleep(10)


async def channel_falls_silent(channel: Channel, number: int, writer: asyncio.StreamWriter) -> None:
    writer.write(BY_CHANNEL.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n") + END)
    await writer.drain()
    await turn()
    writer.close()


async def channel_is_cut(channel: Channel, number: int, writer: asyncio.StreamWriter) -> None:
    writer.write(BY_CHANNEL + END)
    await turn()
    channel.fail(CUT)


async def connection_is_cut(channel: Channel, number: int, writer: asyncio.StreamWriter) -> None:
    writer.write(BY_CHANNEL)
    channel.feed(frame(number, b"one"))
    await writer.drain()
    await turn()
    raise ConnectionResetError


async def connection_is_cut_after_the_channels_part(
    channel: Channel, number: int, writer: asyncio.StreamWriter
) -> None:
    channel.feed(frame(number, b"one") + frame(number))
    await connection_is_cut(channel, number, writer)


@pytest.mark.parametrize(
    ("act", "reason"),
    (
        (ends_nowhere, "timeout"),
        (channel_falls_silent, "timeout"),
        (channel_is_cut, "cut"),
        (connection_is_cut, "cut"),
        (connection_is_cut_after_the_channels_part, "cut"),
    ),
)
async def test_half_an_answer_is_never_a_whole_one(replica: Replica, act: Act, reason: str) -> None:
    answer = await replica.ask(act)
    with pytest.raises(UpstreamError) as caught:
        await taken(answer, 0.2)
    assert caught.value.reason == reason and replica.channel.num_streams == 0


async def test_one_that_goes_on_is_not_late(replica: Replica) -> None:
    async def act(channel: Channel, number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(BY_CHANNEL)
        for _ in range(20):
            await turn()
            channel.feed(frame(number, b"x"))
        channel.feed(frame(number))
        writer.write(END)

    assert b"".join(await taken(await replica.ask(act), 0.3)) == b"x" * 20


async def test_what_comes_after_somebody_left_is_dropped(replica: Replica) -> None:
    answer = await replica.ask(ends_nowhere)
    (number,) = replica.channel._parts
    answer.close()
    assert replica.channel.num_streams == 0
    assert replica.channel.feed(frame(number, b"late") + frame(99, b"nobody's"))


async def test_who_has_enough_holds_up_nobody_else(replica: Replica) -> None:
    slow, quick = await replica.ask(ends_nowhere), await replica.ask(ends_nowhere)
    of_slow, of_quick = list(replica.channel._parts)
    assert await slow.pass_on(lambda data: False, 5.0)
    taking = asyncio.create_task(taken(quick))
    for _ in range(10):
        await asyncio.sleep(0)
        replica.channel.feed(frame(of_slow, b"s") + frame(of_quick, b"q"))
    replica.channel.fail(CUT)
    with pytest.raises(UpstreamError):
        await taking
    assert await slow.read(5.0) == b"s" * 10


async def test_what_is_passed_on_is_renewed_and_what_is_held_is_not(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "CHANNEL_BYTES", 100)
    renewed: list[tuple[int, int]] = []
    replica.channel = replica.upstream.channel = Channel("0" * 32, lambda *one: renewed.append(one))
    slow, quick = await replica.ask(ends_nowhere), await replica.ask(ends_nowhere)
    of_slow, of_quick = list(replica.channel._parts)
    taking = asyncio.create_task(taken(quick))
    await asyncio.sleep(0)
    for _ in range(8):
        replica.channel.feed(frame(of_slow, b"s" * 10) + frame(of_quick, b"q" * 30))
    assert renewed == [(of_quick, 63), (of_quick, 60), (of_quick, 60), (of_quick, 60)]
    replica.channel.feed(frame(of_slow, b"s" * 17))
    with pytest.raises(FrameError, match=f"stream {of_slow} has 1 bytes too many"):
        replica.channel.feed(frame(of_slow, b"s"))
    slow.close()
    taking.cancel()


async def test_what_comes_too_early_by_its_own_connection_is_not_read(replica: Replica) -> None:
    written = 0

    async def act(channel: Channel, number: int, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(BY_CHANNEL)
        while True:
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            await writer.drain()
            written += 65536

    answer = await replica.ask(act)
    (number,) = replica.channel._parts
    taking = asyncio.create_task(taken(answer))
    size = -1
    while size != written:
        size = written
        for _ in range(20):
            replica.channel.feed(frame(number, b"one"))
            await asyncio.sleep(0.002)
        assert 0 < written < 32 << 20  # the kernel's buffers, and little of ours
    taking.cancel()
    answer.close()


async def test_what_one_taker_raises_the_others_do_not_hear(replica: Replica) -> None:
    bad, good = await replica.ask(ends_nowhere), await replica.ask(ends_nowhere)
    of_bad, of_good = list(replica.channel._parts)

    def take(data: bytes) -> bool:
        raise KeyError("nothing to do with a channel")

    await bad.read(5.0), await good.read(5.0)
    failing, reading = asyncio.create_task(bad.pass_on(take, 5.0)), asyncio.create_task(good.read(5.0))
    await asyncio.sleep(0)
    replica.channel.feed(frame(of_bad, b"x") + frame(of_good, b"y"))
    with pytest.raises(KeyError):
        await failing
    assert await reading == b"y" and replica.channel.num_streams == 1
    good.close()


async def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(FrameError):
        Channel("0" * 32).feed(b"\xff" * 12)
