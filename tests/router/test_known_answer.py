"""Against real replicas on fake engines."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from octavo.core.relay import ReplicaCard
from octavo.router.endpoints import WRONG, Endpoint
from octavo.router.known_answer import KnownAnswer
from octavo.router.upstream_connection import UpstreamError
from tests.fakes import FakeEngine
from tests.server.serving import serving

pytestmark = pytest.mark.asyncio

SECRET = "shared"
CARD = ReplicaCard("f", 64)


@contextlib.asynccontextmanager
async def replicas(*answers: bytes) -> AsyncIterator[tuple[list[FakeEngine], list[Endpoint]]]:
    async with contextlib.AsyncExitStack() as stack:
        engines = [FakeEngine(answer) for answer in answers]
        endpoints = []
        for number, engine in enumerate(engines):
            _, url = await stack.enter_async_context(serving(engine, secret=SECRET))
            endpoint = Endpoint(url, name=f"r{number}", static_models=("tiny",))
            endpoint.is_ready, endpoint.card = True, CARD
            endpoints.append(endpoint)
        yield engines, endpoints


async def ask(known: KnownAnswer, endpoint: Endpoint, card: ReplicaCard = CARD) -> bool:
    await known.ask(endpoint, card, "tiny")
    return endpoint.is_available


async def test_replicas_that_answer_alike_are_right() -> None:
    outcomes: list[str] = []
    async with replicas(b"Paris", b"Paris") as (engines, endpoints):
        known = KnownAnswer(SECRET, on_answer=lambda endpoint, outcome: outcomes.append(outcome))
        assert [await ask(known, endpoint) for endpoint in (*endpoints, *endpoints)] == [True] * 4
        salts = {submit.salt for engine in engines for submit in engine.submitted}
    assert outcomes == ["right"] * 4 and len(salts) == 4


async def test_who_drifts_gets_nothing_more_until_it_is_right_again() -> None:
    async with replicas(b"Paris", b"Paris") as (engines, (one, other)):
        known = KnownAnswer(SECRET)
        assert await ask(known, one) and await ask(known, other)
        engines[1].answer = b"Pariz"

        async def work() -> None:
            with other.lifeline():
                await asyncio.Event().wait()

        working = asyncio.create_task(work())
        await asyncio.sleep(0)
        assert not await ask(known, other) and other.reason == WRONG
        with pytest.raises(UpstreamError, match="known question"):
            await working
        assert await ask(known, one)
        engines[1].answer = b"Paris"
        assert await ask(known, other)


async def test_another_model_has_another_answer() -> None:
    async with replicas(b"Paris", b"Lyon") as (_, (one, other)):
        known = KnownAnswer(SECRET)
        assert await ask(known, one) and await ask(known, other, ReplicaCard("another", 64))


async def test_silence_proves_nothing() -> None:
    outcomes: list[str] = []
    async with replicas(b"Paris") as (engines, (one,)):
        known = KnownAnswer(
            SECRET, timeout_seconds=0.05, on_answer=lambda endpoint, outcome: outcomes.append(outcome)
        )
        engines[0].answer = None
        assert await ask(known, one)
        engines[0].is_full = True
        assert await ask(known, one)
    assert await ask(known, one)  # it is gone
    assert outcomes == ["silent"] * 3


async def test_only_octavo_replicas_are_asked_and_again_and_again() -> None:
    async with replicas(b"Paris", b"Paris") as (engines, (one, other)):
        other.card = None
        known = KnownAnswer(SECRET, interval_seconds=0.01)
        watching = [asyncio.create_task(known.watch(endpoint)) for endpoint in (one, other)]
        async with asyncio.timeout(10):
            while len(engines[0].submitted) < 3:
                await asyncio.sleep(0.005)
        for task in watching:
            task.cancel()
        assert not engines[1].submitted


async def test_the_question_is_in_no_replicas_log_and_without_the_secret_there_is_no_such_path() -> None:
    async with serving(FakeEngine(b"Paris"), secret=SECRET) as (replica, url):
        endpoint = Endpoint(url, name="r0", static_models=("tiny",))
        outcomes: list[str] = []
        for secret in (SECRET, "another"):
            known = KnownAnswer(secret, on_answer=lambda endpoint, outcome: outcomes.append(outcome))
            await known.ask(endpoint, CARD, "tiny")
    assert outcomes == ["right", "silent"]
    assert [json.loads(line)["status"] for line in replica.log.getvalue().splitlines()] == [404]
