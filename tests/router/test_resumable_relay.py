"""A stream of two octavo replicas: whatever happens to one of them, the client's bytes are the same."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import msgspec
import pytest

from octavo.core.block_hash import extend_hashes, root_hash, short_hashes
from octavo.core.errors import EngineError
from octavo.core.relay import (
    CHUNK_HASH_BYTES,
    EVENTS_PATH,
    SECRET_HEADER,
    CacheEvent,
    ErrorMark,
    Mark,
    ReplicaCard,
)
from octavo.router.decisions import Attempt
from octavo.router.delivery import Asking, DeliveryLimits
from octavo.router.policies.base import Score
from octavo.router.prefix_index import known_as
from octavo.router.recovery import AttemptFailed
from octavo.router.resumable_relay import MarkedStream
from octavo.router.retry_budget import RetryBudget
from octavo.router.routed_request import RequestReader
from octavo.router.routing import Route
from octavo.router.transcript import DONE, Transcript
from octavo.router.upstream_connection import UpstreamError
from tests.fakes import READY, FakeReplica, PacedEngine
from tests.router import fake_server
from tests.router.fake_server import Received, fake_servers
from tests.router.policies.some import endpoints
from tests.router.routed import Routed, routed
from tests.router.test_client_answer import Client
from tests.server.serving import serving

pytestmark = pytest.mark.asyncio

SECRET = "shared"
ANSWER = "Grüße aus zwei Läufen, END und mehr".encode()
LONG = DeliveryLimits(first_token=30.0, inter_token=30.0, total=60.0)
SHORT = DeliveryLimits(first_token=30.0, inter_token=0.3, total=60.0)  # where somebody falls silent


@contextlib.asynccontextmanager
async def two_replicas(
    max_model_len: int = READY.max_model_len, *, limits: DeliveryLimits = LONG, **options: Any
) -> AsyncIterator[tuple[list[FakeReplica], Routed]]:
    engines = [PacedEngine(ANSWER, pace=0.003) for _ in range(2)]
    for engine in engines:
        engine.info = msgspec.structs.replace(READY, max_model_len=max_model_len)
    async with (
        serving(engines[0], secret=SECRET) as (one, url_of_one),
        serving(engines[1], secret=SECRET) as (two, url_of_two),
        routed([url_of_one, url_of_two], secret=SECRET, limits=limits, **options) as router,
    ):
        yield [one, two], router


async def stream(router: Routed, **fields: Any) -> str:
    """The stream's bytes, without what names this one request."""
    response = await router.ask(stream=True, stream_options={"include_usage": True}, **fields)
    chunks = [json.loads(line[6:]) for line in response.text.split("\n\n") if line.startswith("data: {")]
    identities = {(chunk.get("id"), chunk.get("created")) for chunk in chunks}
    assert len(identities) == 1, response.text
    ((id, created),) = identities
    return response.text.replace(str(id), "ID").replace(str(created), "NOW")


def hang(replica: FakeReplica) -> None:
    assert isinstance(replica.engine, PacedEngine)
    replica.engine.hang_after = replica.engine.num_sent


def drain(replica: FakeReplica) -> None:
    replica.drain.begin()
    for generation in replica.engine.streams:
        if not generation.has_ended:
            generation.fail(EngineError("going"))


def give_up(replica: FakeReplica) -> None:
    replica.engine.fatal.set_result("no more engines")
    drain_streams = [s for s in replica.engine.streams if not s.has_ended]
    for generation in drain_streams:
        generation.fail(EngineError("gone"))


def failovers(router: Routed) -> Counter[str]:
    """By reason, those after which the request was answered."""
    samples = [sample for metric in router.metrics.registry.collect() for sample in metric.samples]
    found = [sample for sample in samples if sample.name == "octavo:router_failovers_total"]
    return Counter({s.labels["reason"]: int(s.value) for s in found if s.labels["outcome"] == "answered"})


@pytest.mark.parametrize("fault", (hang, drain, give_up))
@pytest.mark.parametrize(
    "fields", ({}, {"stop": "END"}, {"max_tokens": 20}, {"stop": "Läu", "logprobs": 2}), ids=str
)
async def test_a_fault_in_mid_stream_changes_no_byte(
    fault: Callable[[FakeReplica], None], fields: dict[str, Any]
) -> None:
    """Only a silence takes a short limit to be noticed. On a busy machine that one may be judged silent, too,
    who is only slow: then there are more failovers, and no byte is another one."""
    async with two_replicas(limits=SHORT if fault is hang else LONG) as (replicas, router):
        undisturbed = await stream(router, **fields)
        before = failovers(router)
        asking = asyncio.create_task(stream(router, **fields))
        while not (busy := [r for r in replicas if any(6 < s.num_output_tokens < 20 and not s.has_ended
                                                       for s in r.engine.streams)]):  # fmt: skip
            await asyncio.sleep(0.001)
        fault(busy[0])
        assert await asking == undisturbed
        after = failovers(router)
        assert after == {"draining": 1} if fault is not hang else after["timeout"] > before["timeout"]
        assert all(endpoint.load.num_tokens == 0 for endpoint in router.endpoints)


async def test_streams_that_fall_silent_go_on_when_there_is_no_retry_left() -> None:
    """However many they are: the budget is for requests that would be begun again."""
    async with two_replicas(limits=SHORT, budget=RetryBudget(share=0, reserve=0)) as (replicas, router):
        undisturbed = await stream(router)
        asking = asyncio.create_task(stream(router))
        while not (busy := [r for r in replicas if any(6 < s.num_output_tokens < 20 and not s.has_ended
                                                       for s in r.engine.streams)]):  # fmt: skip
            await asyncio.sleep(0.001)
        hang(busy[0])
        assert await asking == undisturbed


async def test_a_replica_that_dies_after_its_last_words_is_not_missed() -> None:
    events = b'data: {"choices":[]}\n\n' + DONE

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        server.behaviour = fake_server.cut
        await fake_server.stream(writer, (marked(events, 7),))
        await asyncio.sleep(0.02)
        raise ConnectionResetError

    async with (
        fake_servers(1) as (server,),
        routed([server.url], secret=SECRET, limits=LONG, patience_seconds=0.1) as router,
    ):
        server.behaviour = behave
        router.endpoints[0].card = ReplicaCard(READY.fingerprint, READY.max_model_len)
        response = await router.ask(stream=True)
        assert response.content == events and len(server.received) == 1
        assert not failovers(router)


async def test_without_another_replica_the_client_is_told() -> None:
    async with two_replicas(patience_seconds=0.1) as (replicas, router):
        for endpoint in router.endpoints[1:]:
            endpoint.is_ready = False
        asking = asyncio.create_task(router.ask(stream=True))
        while not any(s.num_output_tokens > 5 for s in replicas[0].engine.streams):
            await asyncio.sleep(0.001)
        router.endpoints[0].is_ready = False
        drain(replicas[0])
        response = await asking
        assert '"code":"no_replica_to_resume"' in response.text and "[DONE]" not in response.text


async def test_a_replica_of_another_model_is_never_asked_to_go_on() -> None:
    async with two_replicas(patience_seconds=0.1) as (replicas, router):
        asking = asyncio.create_task(router.ask(stream=True))
        while not (busy := [n for n, r in enumerate(replicas) if r.engine.streams
                            and r.engine.streams[0].num_output_tokens > 5]):  # fmt: skip
            await asyncio.sleep(0.001)
        other = router.endpoints[1 - busy[0]]
        assert other.card is not None
        other.card = type(other.card)("another", other.card.max_model_len)
        router.endpoints[busy[0]].is_ready = False
        drain(replicas[busy[0]])
        assert "no_replica_to_resume" in (await asking).text
        assert not replicas[1 - busy[0]].engine.streams


async def test_a_whole_answer_has_its_identity_too() -> None:
    async with two_replicas() as (_, router):
        response = await router.ask()
        assert response.json()["id"].startswith("cmpl-") and response.json()["choices"][0]["text"]


@pytest.mark.parametrize("is_stream", (True, False))
async def test_a_replica_is_told_how_the_prompt_is_known(is_stream: bool) -> None:
    prompt = "What was asked before is in some cache. " * 15
    async with two_replicas(max_model_len=2048) as (_, router):
        response = await router.ask(prompt=prompt, stream=is_stream)
        assert response.status_code == 200
        number = int(response.headers["x-octavo-route"][len("endpoint=r")])
        headers = {SECRET_HEADER.decode(): SECRET}
        url = f"{router.endpoints[number].url}{EVENTS_PATH}"
        async with httpx2.AsyncClient() as client, client.stream("GET", url, headers=headers) as events:
            event = msgspec.json.decode(await anext(events.aiter_lines()), type=CacheEvent)
    (known,) = event.prompts
    body = json.dumps({"model": "tiny", "prompt": prompt}).encode()
    request = RequestReader().read(body, id="id", path="/v1/completions")
    hashes: list[bytes] = []
    extend_hashes(hashes, root_hash(bytes.fromhex(READY.fingerprint)), list(prompt.encode()))
    assert known.chunks == known_as(request).chunks and len(known.chunks) == 2 * CHUNK_HASH_BYTES
    assert known.blocks == short_hashes(hashes)


def marked(payload: bytes, *token_ids: int) -> bytes:
    return Mark(len(payload), 0, 0, 0, None, list(token_ids)).encode() + payload


def some_asking() -> Asking:
    (endpoint,) = endpoints(1)
    route = Route(Score(endpoint, 0.0), [], 0, None)
    attempt, reservation = Attempt("r0", [], 0), endpoint.reserved(1)

    def ignore(asking: Asking, num_cached: int | None) -> None:
        pass

    return Asking(endpoint, None, attempt, route, b"", reservation, 0.0, ignore, ignore)


async def taken(client: Client, last: ErrorMark, last_payload: bytes) -> MarkedStream:
    stream = MarkedStream(client.answer, Transcript(), some_asking())
    first, second = marked(b"data: 1\n\n", 7), marked(b"data: 2\n\n", 8)
    assert stream.hold(first[:5]) and not stream.hold(first[5:] + second)
    stream.pass_on_held()
    assert client.written == [b"data: 1\n\ndata: 2\n\n"]
    stream.take(marked(b"data: 3\n\n", 9) + last.encode() + last_payload)
    return stream


async def test_what_came_before_an_error_leaves_before_it() -> None:
    client = Client()
    stream = await taken(client, ErrorMark(9, is_resumable=False), b"data: {}\n")
    assert (client.written[1:], stream.last_words) == ([b"data: 3\n\n"], b"data: {}\n")
    client = Client()
    with pytest.raises(AttemptFailed, match="ended before the answer did") as caught:
        await taken(client, ErrorMark(0, is_resumable=True), b"")
    assert client.written[1:] == [b"data: 3\n\n"] and caught.value.has_progressed


async def test_a_client_that_does_not_keep_up_is_given_a_pause() -> None:
    client = Client()
    stream = MarkedStream(client.answer, Transcript(), some_asking())
    assert stream.take(marked(b"data: 1\n\n"))
    client.is_behind = True
    assert not stream.take(marked(b"data: 2\n\n"))
    assert b"".join(client.written) == b"data: 1\n\ndata: 2\n\n"
    with pytest.raises(UpstreamError, match="is not a mark"):
        stream.take(b"data: 3\n\n")
