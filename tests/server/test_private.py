"""The private surface: who may use it, what marks say, and an answer taken up at every point of it."""

import asyncio
import base64
import json
from typing import Any

import httpx2
import msgspec
import pytest

from octavo.core.block_hash import SHORT_BYTES
from octavo.core.messages import EngineStats
from octavo.core.relay import (
    EVENTS_PATH,
    IDENTITY_HEADER,
    MODEL_PATH,
    PREFIX_HEADER,
    RESUME_PATH,
    SECRET_HEADER,
    CacheEvent,
    ChoiceProgress,
    ErrorMark,
    Identity,
    Mark,
    MarkReader,
    PromptPrefix,
    ReplicaCard,
    Resumption,
)
from tests.fakes import MAX_MODEL_LEN, READY, FakeEngine, PacedEngine, fake_replica, send
from tests.server.serving import asgi_client

pytestmark = pytest.mark.asyncio

SECRET = "shared"
IDENTITY = Identity("0" * 31 + "7", 1_700_000_123, 42)
TRUST = {SECRET_HEADER.decode(): SECRET}
RELAYED = {**TRUST, IDENTITY_HEADER.decode(): IDENTITY.header.decode()}
CARD = ReplicaCard(READY.fingerprint, MAX_MODEL_LEN)
ANSWER = "Grüße, x END y".encode()


def body(**fields: Any) -> dict[str, Any]:
    return {
        "model": "tiny",
        "prompt": "hi",
        "stream": True,
        "stream_options": {"include_usage": True},
        **fields,
    }


async def relayed(engine: FakeEngine, **fields: Any) -> tuple[httpx2.Response, list[tuple[Any, bytes]]]:
    async with asgi_client(fake_replica(engine, secret=SECRET)) as client:
        response = await client.post("/v1/completions", json=body(**fields), headers=RELAYED)
    return response, MarkReader().feed(response.content)


async def resume(engine: FakeEngine, choices: list[ChoiceProgress], **fields: Any) -> httpx2.Response:
    card = fields.pop("card", CARD)
    raw = msgspec.Raw(json.dumps(body(**fields)).encode())
    message = Resumption("/v1/completions", card, IDENTITY, choices, raw)
    async with asgi_client(fake_replica(engine, secret=SECRET)) as client:
        return await client.post(
            RESUME_PATH,
            content=msgspec.json.encode(message),
            headers={**TRUST, "content-type": "application/json"},
        )


async def test_who_has_not_the_secret_finds_nothing() -> None:
    for secret, header in ((SECRET, "wrong"), (SECRET, ""), (None, SECRET), (None, "None")):
        async with asgi_client(fake_replica(FakeEngine(), secret=secret)) as client:
            headers = {SECRET_HEADER.decode(): header, "content-type": "application/json"}
            assert (await client.get(MODEL_PATH, headers=headers)).status_code == 404
            assert (await client.post(RESUME_PATH, content=b"{}", headers=headers)).status_code == 404
            stream = await client.post("/v1/completions", json=body(), headers={**RELAYED, **headers})
            assert b":octavo" not in stream.content and IDENTITY.id.encode() not in stream.content


async def test_a_replica_says_what_it_is() -> None:
    async with asgi_client(fake_replica(FakeEngine(), secret=SECRET)) as client:
        response = await client.get(MODEL_PATH, headers=TRUST)
    assert msgspec.json.decode(response.content, type=ReplicaCard) == CARD


async def test_marks_add_up_to_the_answer_and_its_identity() -> None:
    _, pieces = await relayed(PacedEngine(ANSWER, pace=0.001))
    assert b"".join(bytes(mark.token_ids) for mark, _ in pieces) == ANSWER
    assert pieces[-1][0].finish_reason == "stop" and pieces[-1][0].num_characters == len(ANSWER.decode())
    payload = b"".join(data for _, data in pieces)
    chunks = [json.loads(line[6:]) for line in payload.decode().split("\n\n") if line.startswith("data: {")]
    assert {(c["id"], c["created"]) for c in chunks} == {(f"cmpl-{IDENTITY.id}", IDENTITY.created)}
    assert payload.endswith(b"data: [DONE]\n\n")


async def test_the_identitys_seed_is_for_requests_without_one() -> None:
    engine = FakeEngine()
    await relayed(engine)
    await relayed(engine, seed=5)
    assert [submitted.seed for submitted in engine.submitted] == [42, 5]


def progress_after(pieces: list[tuple[Any, bytes]]) -> list[ChoiceProgress]:
    choices: dict[int, ChoiceProgress] = {}
    for mark, _ in pieces:
        assert isinstance(mark, Mark)
        choice = choices.setdefault(mark.index, ChoiceProgress(mark.index, []))
        choice.token_ids += mark.token_ids
        choice.num_characters = mark.num_characters
        choice.num_cached_tokens, choice.finish_reason = mark.num_cached_tokens, mark.finish_reason
        choice.held_logprobs = mark.held_logprobs
    return list(choices.values())


@pytest.mark.parametrize(
    "fields",
    (
        {},
        {"stop": "END"},
        {"stop": ["x E", "never"]},
        {"max_tokens": 30},
        {"stop": "END", "logprobs": 2},
        {"return_token_ids": True},
        {"echo": True, "logprobs": 1, "stop": "END"},
        {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    ),
    ids=str,
)
async def test_an_answer_taken_up_at_any_point_is_the_same_answer(fields: dict[str, Any]) -> None:
    _, pieces = await relayed(PacedEngine(ANSWER, pace=0.001), **fields)
    whole = b"".join(data for _, data in pieces)
    for count in range(len(pieces)):
        sent = b"".join(data for _, data in pieces[:count])
        response = await resume(PacedEngine(ANSWER, pace=0.001), progress_after(pieces[:count]), **fields)
        rest = b"".join(data for _, data in MarkReader().feed(response.content))
        assert sent + rest == whole, count


async def test_a_choice_that_is_complete_is_not_begun_again() -> None:
    fields = {"prompt": ["a", "bc"]}
    _, pieces = await relayed(PacedEngine(ANSWER, pace=0.001), **fields)
    engine = FakeEngine(ANSWER)
    response = await resume(engine, progress_after(pieces[:-1]), **fields)
    ((mark, rest),) = MarkReader().feed(response.content)
    assert (mark.finish_reason, len(engine.submitted)) == ("stop", 1)
    assert rest == pieces[-1][1]


async def test_tokens_known_are_not_generated_again() -> None:
    engine = FakeEngine(ANSWER)
    _, pieces = await relayed(PacedEngine(ANSWER, pace=0.001))
    await resume(engine, progress_after(pieces[:4]))
    (submitted,) = engine.submitted
    assert bytes(submitted.token_ids) == b"hi" + ANSWER[:4] and submitted.num_prompt_tokens == 2


async def test_another_replicas_answer_cannot_go_on_here() -> None:
    wrong = await resume(FakeEngine(), [], card=ReplicaCard("other", MAX_MODEL_LEN))
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (409, "resume_mismatch")
    text = await resume(FakeEngine(), [ChoiceProgress(0, [65, 66], num_characters=3)])
    assert (text.status_code, text.json()["error"]["code"]) == (409, "resume_mismatch")
    held = await resume(FakeEngine(), [ChoiceProgress(0, [69])], stop="END", logprobs=1)
    assert (held.status_code, held.json()["error"]["code"]) == (409, "resume_mismatch")


async def test_what_is_no_resumption_is_refused() -> None:
    async with asgi_client(fake_replica(FakeEngine(), secret=SECRET)) as client:
        headers = {**TRUST, "content-type": "application/json"}
        for content in (b"{}", b'{"path": "\xff"}', b'{"request": ' + b"[" * 100_000):
            assert (await client.post(RESUME_PATH, content=content, headers=headers)).status_code == 400
        message = Resumption("/v1/nothing", CARD, IDENTITY, [], msgspec.Raw(b"{}"))
        response = await client.post(RESUME_PATH, content=msgspec.json.encode(message), headers=headers)
        assert response.json()["error"]["param"] == "path"


@pytest.mark.parametrize("is_draining", (True, False))
async def test_an_error_says_whether_it_is_the_replicas_own(is_draining: bool) -> None:
    engine = FakeEngine(None)
    replica = fake_replica(engine, secret=SECRET)
    async with asgi_client(replica) as client:

        async def break_off() -> None:
            await engine.arrived.wait()
            send(engine.streams[0], b"A")
            if is_draining:
                replica.drain.begin()
            await engine.close()

        async with asyncio.TaskGroup() as group:
            group.create_task(break_off())
            response = await client.post("/v1/completions", json=body(), headers=RELAYED)
    mark, event = MarkReader().feed(response.content)[-1]
    assert mark == ErrorMark(len(event), is_resumable=is_draining) and b'"error"' in event


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("is_relayed", [True, False])
async def test_of_which_blocks_a_routers_prompt_is_all_routers_are_told(
    stream: bool, is_relayed: bool
) -> None:
    replica = fake_replica(FakeEngine(ANSWER), secret=SECRET)
    prefix = PromptPrefix(40, b"opaque!!")
    async with asgi_client(replica) as client:
        fields = body(prompt="x" * 40, stream=stream) | ({} if stream else {"stream_options": None})
        headers = {PREFIX_HEADER.decode(): prefix.header.decode(), **(RELAYED if is_relayed else {})}
        await client.post("/v1/completions", json=fields, headers=headers)
        asyncio.get_running_loop().call_later(0.05, replica.drain.begin)
        response = await client.get(EVENTS_PATH, headers=TRUST)
    prompts = msgspec.json.decode(response.text.splitlines()[0], type=CacheEvent).prompts
    told = [(prompt.num_bytes, prompt.chunks, len(prompt.blocks)) for prompt in prompts]
    assert told == [(40, b"opaque!!", 2 * SHORT_BYTES)] * is_relayed


async def test_events_are_for_routers_and_end_with_the_server() -> None:
    replica = fake_replica(FakeEngine(ANSWER), secret=SECRET)
    async with asgi_client(replica) as client:
        assert (await client.get(EVENTS_PATH)).status_code == 404
        replica.engine.on_step(0, EngineStats(cached_blocks=b"12345678"))
        asyncio.get_running_loop().call_later(0.1, replica.drain.begin)
        response = await client.get(EVENTS_PATH, headers=TRUST)
    first, *_ = map(json.loads, response.text.splitlines())
    stored = base64.b64encode(b"12345678").decode()
    assert first["number"] == 0 and first["is_reset"] and first["stored"] == stored
