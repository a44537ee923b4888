"""By a channel come the same bytes; a step's leave in one write; and what that does to nobody else."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import msgspec
import pytest
from starlette.types import Message

from octavo.core.channel import CHANNEL_BYTES, SIGN_OF_LIFE, FrameReader, Renewal, Ticket
from octavo.core.errors import EngineError
from octavo.core.messages import TokenLogprobs
from octavo.core.relay import (
    CHANNEL_HEADER,
    CHANNEL_PATH,
    IDENTITY_HEADER,
    RESUME_PATH,
    SECRET_HEADER,
    ChoiceProgress,
    Identity,
    MarkReader,
    ReplicaCard,
    Resumption,
)
from octavo.server import channels
from octavo.server.channels import Channel, Channels
from tests.deaf import deafen
from tests.fakes import MAX_MODEL_LEN, READY, FakeReplica, PacedEngine
from tests.server.raw_client import exchange, request
from tests.server.serving import serving

pytestmark = pytest.mark.asyncio

SECRET = "shared"
TRUST = {SECRET_HEADER.decode(): SECRET}
IDENTITY = Identity("0" * 31 + "7", 1_700_000_123, 42)
BODY: dict[str, Any] = {"model": "tiny", "prompt": "hi", "stream": True, "seed": 1}
ANSWER = "Grüße, x END y".encode()
NUMBER = 7


class Opened:
    """A router's side of a replica with a channel."""

    def __init__(self, replica: FakeReplica, client: httpx2.AsyncClient, channel: httpx2.Response) -> None:
        self.replica = replica
        self.client = client
        self.channel = channel
        self.ticket = Ticket(channel.headers[CHANNEL_HEADER.decode()], NUMBER)
        self._chunks = channel.aiter_raw()
        self._reader = FrameReader()
        self.frames: list[tuple[int, bytes]] = []

    async def ask(self, path: str = "/v1/completions", **options: Any) -> httpx2.Response:
        ticket = options.pop("ticket", self.ticket)
        headers = {**TRUST, IDENTITY_HEADER.decode(): IDENTITY.header.decode()}
        if ticket is not None:
            headers[CHANNEL_HEADER.decode()] = ticket.header.decode()
        options = options or {"json": BODY}
        return await self.client.post(
            path, headers={"content-type": "application/json", **headers}, **options
        )

    async def asking(self) -> "asyncio.Task[httpx2.Response]":
        """What ask() returns later: the engine has the request."""
        task = asyncio.create_task(self.ask())
        while not self.replica.engine.streams:
            await asyncio.sleep(0.001)
        return task

    async def rest(self) -> AsyncIterator[tuple[int, bytes]]:
        """The channel's frames from now on, to its end."""
        async for chunk in self._chunks:
            for one in self._reader.feed(chunk):
                yield one

    async def part(self) -> bytes:
        """What the stream has in the channel, which must end there."""
        while (NUMBER, b"") not in self.frames:
            self.frames += self._reader.feed(await anext(self._chunks))
        return b"".join(data for number, data in self.frames if number == NUMBER)


@contextlib.asynccontextmanager
async def opened(pace: float = 0.001) -> AsyncIterator[Opened]:
    async with (
        serving(PacedEngine(ANSWER, pace), secret=SECRET) as (replica, url),
        httpx2.AsyncClient(base_url=url, timeout=10) as client,
        client.stream("GET", CHANNEL_PATH, headers=TRUST) as channel,
    ):
        yield Opened(replica, client, channel)


def text_of(stream: bytes) -> str:
    payloads = b"".join(payload for _, payload in MarkReader().feed(stream))
    chunks = [json.loads(line[6:]) for line in payloads.split(b"\n\n") if line.startswith(b"data: {")]
    return "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])


async def test_what_comes_by_the_channel_is_what_comes_without_it() -> None:
    async with opened() as router:
        response = await router.ask()
        assert response.content == b"" and response.headers[CHANNEL_HEADER.decode()] == str(NUMBER)
        assert response.headers["content-type"].startswith("text/event-stream")
        part = await router.part()
        without = await router.ask(ticket=None)
        assert CHANNEL_HEADER.decode() not in without.headers
        assert part == without.content and text_of(part) == ANSWER.decode()
        assert router.frames[0] == (SIGN_OF_LIFE, b"")


async def test_what_is_beyond_a_streams_share_comes_by_its_own_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels, "CHANNEL_BYTES", 1000)
    async with opened() as router:
        own = (await router.ask()).content
        part = await router.part()
        assert own and 500 < len(part) <= 1000
        assert part + own == (await router.ask(ticket=None)).content


async def test_a_share_that_is_renewed_in_time_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "CHANNEL_BYTES", 1000)
    async with opened(pace=0.01) as router:
        asking = await router.asking()
        renewal = Renewal(router.ticket.channel, {NUMBER: CHANNEL_BYTES, NUMBER + 1: 1})
        assert await renew(router, msgspec.json.encode(renewal)) == 204
        assert (await asking).content == b"" and text_of(await router.part()) == ANSWER.decode()


async def renew(router: Opened, body: bytes, trust: dict[str, str] = TRUST) -> int:
    headers = {"content-type": "application/json", **trust}
    response = await router.client.post(CHANNEL_PATH, content=body, headers=headers)
    return response.status_code


async def test_a_renewal_of_what_is_not_there_does_nothing() -> None:
    async with opened() as router:
        assert await renew(router, msgspec.json.encode(Renewal("0" * 32, {NUMBER: 1}))) == 204


@pytest.mark.parametrize("body", (b"", b"{}", b'{"channel":"x","num_bytes":{"7":0}}', b"[" * 5000, b"\xff"))
async def test_what_is_no_renewal_is_refused(body: bytes) -> None:
    async with opened() as router:
        assert await renew(router, body) == 400


async def test_who_has_not_the_secret_renews_nothing() -> None:
    async with opened() as router:
        assert await renew(router, msgspec.json.encode(Renewal(router.ticket.channel, {1: 1})), {}) == 404


async def test_a_resumption_comes_by_the_channel_too() -> None:
    async with opened() as router:
        choice = ChoiceProgress(0, list(ANSWER[:9]), len(ANSWER[:9].decode()), 2, None, TokenLogprobs())
        card = ReplicaCard(READY.fingerprint, MAX_MODEL_LEN)
        request = msgspec.Raw(json.dumps(BODY).encode())
        resumption = Resumption("/v1/completions", card, IDENTITY, [choice], request)
        response = await router.ask(RESUME_PATH, content=msgspec.json.encode(resumption))
        assert response.status_code == 200 and response.content == b""
        assert text_of(await router.part()) == ANSWER[9:].decode()


@pytest.mark.parametrize("ticket", (Ticket("0" * 32, 1), None))
async def test_without_the_channel_a_stream_has_its_own_connection(ticket: Ticket | None) -> None:
    async with opened() as router:
        assert text_of((await router.ask(ticket=ticket)).content) == ANSWER.decode()


async def test_an_answer_that_is_no_stream_and_an_error_have_theirs() -> None:
    async with opened() as router:
        whole = await router.ask(json={**BODY, "stream": False})
        assert whole.json()["choices"][0]["text"] == ANSWER.decode()
        wrong = await router.ask(json={**BODY, "max_tokens": -1})
        assert wrong.status_code == 400 and CHANNEL_HEADER.decode() not in wrong.headers
        assert all(number == SIGN_OF_LIFE for number, _ in router.frames)


async def test_who_has_not_the_secret_finds_no_channel() -> None:
    async with opened() as router:
        assert (await router.client.get(CHANNEL_PATH)).status_code == 404
        headers = {CHANNEL_HEADER.decode(): router.ticket.header.decode()}
        response = await router.client.post("/v1/completions", json=BODY, headers=headers)
        assert ANSWER[:1] in response.content and b":octavo" not in response.content


async def test_a_replica_that_ends_waits_for_the_streams_of_a_channel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels, "SIGN_OF_LIFE_SECONDS", 0.01)
    async with opened(pace=0.01) as router:
        asking = await router.asking()
        router.replica.drain.begin()
        assert text_of(await router.part()) == ANSWER.decode()
        await asking
        with pytest.raises(StopAsyncIteration):
            while True:
                await anext(router._chunks)


async def test_who_leaves_ends_its_stream_and_no_other() -> None:
    async with opened(pace=0.01) as router:
        leaving = asyncio.create_task(router.ask(ticket=Ticket(router.ticket.channel, 1)))
        staying = asyncio.create_task(router.ask())
        while len(router.replica.engine.streams) < 2:
            await asyncio.sleep(0.001)
        leaving.cancel()
        assert text_of(await router.part()) == ANSWER.decode()
        await staying
        assert len(router.replica.engine.aborted) == 1 and (1, b"") not in router.frames


async def test_a_channel_that_ends_takes_its_streams_along() -> None:
    """What was written to it last may be lost: they must not look whole, nor wait for it for ever."""
    async with opened(pace=0.01) as router:
        asking = asyncio.create_task(router.ask())
        while not router.frames or router.frames[-1][0] != NUMBER:
            router.frames += router._reader.feed(await anext(router._chunks))
        await router.channel.aclose()
        with pytest.raises(httpx2.TransportError):
            await asking
        async with asyncio.timeout(10):
            await router.replica.engine.abort_seen.wait()


async def test_a_router_that_vanishes_takes_its_streams_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power, no network: neither its channel nor a stream's own connection says so."""
    monkeypatch.setattr(channels, "SILENCE_SECONDS", 1)
    async with opened(pace=1000.0) as router:
        asking = await router.asking()
        deafen(router.channel.extensions["network_stream"].get_extra_info("socket"))
        async with asyncio.timeout(20):
            await router.replica.engine.abort_seen.wait()
        asking.cancel()


async def test_a_number_that_is_another_streams_does_not_count() -> None:
    async with opened(pace=0.01) as router:
        first = await router.asking()
        second = await router.ask()
        assert CHANNEL_HEADER.decode() not in second.headers
        assert await router.part() == second.content
        assert (await first).headers[CHANNEL_HEADER.decode()] == str(NUMBER)


async def test_what_fails_before_its_head_is_not_on_the_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "SIGN_OF_LIFE_SECONDS", 0.01)
    async with opened() as router:
        router.replica.engine.pace = 1000.0
        asking = await router.asking()
        router.replica.engine.streams[0].fail(EngineError("It died."))
        response = await asking
        assert response.status_code == 500 and CHANNEL_HEADER.decode() not in response.headers
        router.replica.drain.begin()
        async with asyncio.timeout(10):
            assert all([number == SIGN_OF_LIFE async for number, _ in router.rest()])


async def test_behind_a_proxy_that_knows_no_chunks_a_stream_has_its_own_connection() -> None:
    async with opened() as router:
        headers = [
            (SECRET_HEADER.decode(), SECRET),
            (IDENTITY_HEADER.decode(), IDENTITY.header.decode()),
            (CHANNEL_HEADER.decode(), router.ticket.header.decode()),
        ]
        asked = request("/v1/completions", json.dumps(BODY).encode(), headers)
        port = router.client.base_url.port or 0
        (answer,) = await exchange(port, asked.replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        assert CHANNEL_HEADER.decode() not in answer.headers and text_of(answer.body) == ANSWER.decode()


async def test_two_routers_get_their_own() -> None:
    async with (
        opened(pace=0.003) as one,
        one.client.stream("GET", CHANNEL_PATH, headers=TRUST) as channel,
    ):
        other = Opened(one.replica, one.client, channel)
        answers = await asyncio.gather(one.ask(), other.ask())
        assert [answer.content for answer in answers] == [b"", b""]
        assert one.ticket.channel != other.ticket.channel
        assert await one.part() == await other.part()


class Written:
    """An outlet that keeps what is written to it."""

    def __init__(self) -> None:
        self.is_behind = self.is_gone = self.has_whole_request = False
        self.on_room: Callable[[], None] = lambda: None
        self.on_gone: Callable[[], None] = lambda: None
        self.on_end: Callable[[], None] = lambda: None
        self.written: list[bytes] = []
        self.num_opened = 0

    def open(self) -> None:
        self.num_opened += 1

    def limit_silence(self, seconds: int) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.is_gone = True
        self.on_gone()

    async def send(self, message: Message) -> None:
        if message.get("body"):
            self.written.append(message["body"])


async def never() -> Message:
    await asyncio.Event().wait()
    return {}


async def test_all_of_a_turn_leaves_in_one_write() -> None:
    outlet = Written()
    channel = Channel(outlet)
    for number in (1, 2, 3):
        channel.write(number, b"x")
    assert not outlet.written
    await asyncio.sleep(0)
    (data,) = outlet.written
    assert FrameReader().feed(data) == [(1, b"x"), (2, b"x"), (3, b"x")]


async def test_while_the_router_reads_too_slowly_its_streams_wait() -> None:
    outlet, own = Written(), Written()
    all_channels = Channels()
    serving_one = asyncio.create_task(all_channels.serve(outlet, never, outlet.send, lambda: False))
    await asyncio.sleep(0.01)
    (id,) = all_channels._open
    _, stream = all_channels.way(Ticket(id, 1), own.send, own)
    called = []
    stream.on_room = lambda: called.append(1)
    outlet.is_behind = True
    assert stream.is_behind
    outlet.is_behind = False
    outlet.on_room()
    assert not stream.is_behind and called == [1]
    own.on_gone()
    outlet.on_room()
    assert called == [1]
    serving_one.cancel()
