"""Faults beyond the loss of a replica: answers that break at any byte, clients that leave or do not read, and
several faults at once."""

import asyncio
import contextlib
import random
import time
from typing import Any

import pytest

from octavo.router.retry_budget import RetryBudget
from tests.router.doomed import DoomedEngine, fleet, told
from tests.router.fake_server import fake_servers
from tests.router.routed import Routed, routed

pytestmark = pytest.mark.asyncio

NUM_ANSWER_BYTES = 9000  # of a stream as a replica sends it, about


async def asked_until_broken(engine: DoomedEngine, router: Routed, undisturbed: list[Any]) -> None:
    """Round robin: one of three goes there, unless it is passed over just then; and an answer whose tokens
    leave several at a time is shorter, and may end before it breaks. So some more are asked for."""
    before = engine.proxy.num_broken
    for _ in range(20 * len(router.endpoints)):
        assert await told(router) == undisturbed
        if engine.proxy.num_broken > before:
            router.endpoints[0].breaker.succeed()  # or it would soon be asked nothing more
            return
    raise AssertionError("nothing was broken")


@pytest.mark.parametrize("has_channels", (True, False), ids=("by channel", "by its own connection"))
@pytest.mark.parametrize("last_words", (b"", b"\x00 no HTTP\r\n\r\n"), ids=("end", "garbage"))
async def test_a_stream_survives_an_answer_that_breaks_at_any_byte(
    last_words: bytes, has_channels: bool
) -> None:
    lots = random.Random(5 + has_channels)
    async with fleet(has_channels=has_channels) as (engines, router):
        undisturbed = await told(router)
        for engine in engines:
            engine.pace = 0.0005
        for after in (0, 1, lots.randrange(NUM_ANSWER_BYTES), lots.randrange(NUM_ANSWER_BYTES)):
            while has_channels and router.endpoints[0].upstream.channel is None:
                await asyncio.sleep(0.001)
            engines[0].proxy.last_words = last_words
            engines[0].proxy.break_after = after
            await asked_until_broken(engines[0], router, undisturbed)


async def suffered(lots: random.Random, num_rounds: int) -> None:
    """Rounds of one to three faults that strike a stream one after the other."""
    budget = RetryBudget(reserve=1000.0)  # a hang before the first token is charged
    async with fleet(budget=budget) as (engines, router):
        undisturbed = await told(router)
        for number in range(num_rounds):
            dooms = [(lots.randrange(12), lots.choice(("killed", "cut"))) for _ in range(lots.randint(1, 3))]
            engines[0].dooms.extend(dooms)
            assert await told(router) == undisturbed, f"round {number}: {dooms}"
            assert not engines[0].dooms
        assert all(endpoint.load.num_tokens == 0 for endpoint in router.endpoints)


async def test_several_faults_at_once_change_nothing() -> None:
    await suffered(random.Random(7), num_rounds=3)


@pytest.mark.full
@pytest.mark.timeout(600)
async def test_two_hundred_rounds_of_several_faults_change_nothing() -> None:
    await suffered(random.Random(8), num_rounds=200)


async def test_a_wall_clock_that_jumps_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lots, now = random.Random(3), time.time
    async with fleet() as (engines, router):
        undisturbed = await told(router)
        monkeypatch.setattr(time, "time", lambda: now() + lots.choice((-3600.0, 3600.0)))
        engines[0].dooms.extend([(5, "killed"), (0, "cut")])
        assert await told(router) == undisturbed
        assert not engines[0].dooms


async def test_clients_that_leave_at_any_moment_leave_nothing_behind() -> None:
    lots = random.Random(9)

    async def leave_after(router: Routed, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await router.ask(stream=True)

    async with fleet(silence=20.0) as (engines, router):
        undisturbed = await told(router)
        for _ in range(3):
            witness = asyncio.create_task(told(router))
            await asyncio.gather(*(leave_after(router, lots.uniform(0.0, 0.1)) for _ in range(40)))
            assert await witness == undisturbed
        async with asyncio.timeout(10):
            while router.proxy.num_running or any(engine.num_live for engine in engines):
                await asyncio.sleep(0.01)
        assert all(endpoint.load.num_tokens == 0 for endpoint in router.endpoints)
        assert all(endpoint.breaker.state == "closed" for endpoint in router.endpoints)


async def test_a_client_that_does_not_read_holds_up_its_own_stream_and_nobodys_memory() -> None:
    piece, written = b"data: " + b"x" * 65_000 + b"\n\n", 0

    async def behave(received: object, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        while True:
            writer.write(piece)
            await writer.drain()
            written += len(piece)

    async with fake_servers(1) as (server,), routed([server.url]) as router:
        server.behaviour = behave
        body = {"model": "tiny", "stream": True}
        async with router.client.stream("POST", "/v1/completions", json=body) as response:
            assert response.status_code == 200
            size = -1
            while size != written:  # until nothing more goes in
                size = written
                await asyncio.sleep(0.2)
        assert 0 < written < 32 << 20  # the kernel's buffers on two connections, and little of the router's
