"""--failover-mismatch continue: plain text goes on with another model of the same vocabulary, and says so."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from octavo.core.relay import ReplicaCard
from octavo.router.resumable_relay import INEXACT
from tests.fakes import READY, FakeReplica, PacedEngine
from tests.router.routed import LIMITS, Routed, routed
from tests.router.test_resumable_relay import SECRET, drain
from tests.server.serving import serving

pytestmark = pytest.mark.asyncio

ANSWER = b"Zwei Modelle, ein Wortschatz: es geht weiter"
OTHER_FINGERPRINT = "fedcba9876543210"


@contextlib.asynccontextmanager
async def two_models(
    vocabularies: tuple[str, str] = ("v", "v"), **options: Any
) -> AsyncIterator[tuple[list[FakeReplica], Routed]]:
    one, two = (PacedEngine(ANSWER, pace=0.003) for _ in range(2))
    two.info = msgspec.structs.replace(READY, fingerprint=OTHER_FINGERPRINT)
    async with (
        serving(one, secret=SECRET, vocabulary=vocabularies[0]) as (first, first_url),
        serving(two, secret=SECRET, vocabulary=vocabularies[1]) as (second, second_url),
        routed(
            [first_url, second_url],
            **{
                "secret": SECRET,
                "limits": LIMITS,
                "patience_seconds": 0.05,
                "may_be_inexact": True,
                **options,
            },
        ) as router,
    ):
        yield [first, second], router


async def interrupted(replicas: list[FakeReplica], router: Routed, **fields: Any) -> str:
    """The stream of a request whose replica drains in its middle."""
    asking = asyncio.create_task(router.ask(stream=True, **fields))
    while not (busy := [r for r in replicas if any(5 < s.num_output_tokens < 20 for s in r.engine.streams)]):
        await asyncio.sleep(0.001)
    drain(busy[0])
    router.endpoints[replicas.index(busy[0])].is_ready = False
    return (await asking).text


def text_of(stream: str) -> str:
    lines = [line[6:] for line in stream.splitlines() if line.startswith("data: {")]
    return "".join(choice["text"] for line in lines for choice in msgspec.json.decode(line)["choices"])


async def test_plain_text_goes_on_and_says_so() -> None:
    async with two_models() as (replicas, router):
        stream = await interrupted(replicas, router)
        assert text_of(stream) == ANSWER.decode() and stream.endswith("data: [DONE]\n\n")
        before, _, after = stream.partition(INEXACT.decode())
        prints = {f"fp_{READY.fingerprint[:12]}", f"fp_{OTHER_FINGERPRINT[:12]}"}
        assert len(prints & {part for part in prints if part in before}) == 1
        assert {part for part in prints if part in before} != {part for part in prints if part in after}
        outcome = {"reason": "draining", "outcome": "answered by another model"}
        assert router.sample("octavo:router_failovers_total", **outcome) == 1


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"logprobs": 1}, {}),
        ({"n": 2}, {}),
        ({}, {"vocabularies": ("v", "w")}),
        ({}, {"vocabularies": ("", "")}),
        ({}, {"may_be_inexact": False}),
    ],
    ids=("logprobs", "two choices", "another vocabulary", "no vocabulary told", "not asked for"),
)
async def test_nothing_else_does(fields: dict[str, Any], options: dict[str, Any]) -> None:
    async with two_models(**options) as (replicas, router):
        stream = await interrupted(replicas, router, **fields)
        assert '"code":"no_replica_to_resume"' in stream and INEXACT.decode() not in stream


async def test_a_replica_of_the_same_model_is_preferred() -> None:
    async with two_models() as (replicas, router):
        replicas[1].engine.info = READY
        router.endpoints[1].card = ReplicaCard(READY.fingerprint, READY.max_model_len, "v")
        stream = await interrupted(replicas, router)
        assert text_of(stream) == ANSWER.decode() and INEXACT.decode() not in stream
