"""Prompts run in waves; whatever happens, the engine keeps nothing of them."""

import asyncio
import json

import pytest

from octavo.core.errors import EngineError
from octavo.core.relay import Identity
from octavo.core.request import FinishReason
from octavo.core.sampling_params import SamplingParams
from octavo.http.allowance import Allowance
from octavo.http.api_keys import KeyLimits
from octavo.http.request_log import RequestRecord
from octavo.server.origin import Origin
from octavo.server.prompt_runs import PromptRun, PromptRunner
from tests.fakes import FakeEngine, fake_replica, send
from tests.server.serving import asgi_client, serving

pytestmark = pytest.mark.asyncio

BODY = {"model": "tiny", "input": ["ab", "c"]}


class SilentEngine(FakeEngine):
    """Takes prompts and computes none of them."""

    def submit(self, prompt_token_ids, sampling, **options):  # type: ignore[no-untyped-def]
        options.pop("pooling", None)
        return super().submit(prompt_token_ids, sampling, **options)


async def test_what_they_took_is_logged() -> None:
    async with serving(FakeEngine()) as (replica, _), asgi_client(replica) as client:
        response = await client.post("/v1/embeddings", json={**BODY, "user": "me"})
    (line,) = [json.loads(line) for line in replica.log.getvalue().splitlines()]
    assert (line["prompt_tokens"], line["output_tokens"], line["finish_reason"]) == (3, 0, "length")
    assert response.headers["x-octavo-ignored"] == "user"
    rendered = replica.metrics.render().decode()
    assert 'request_success_total{engine="0",finished_reason="length",model_name="tiny"} 2.0' in rendered


async def test_a_full_queue_is_said_and_counted() -> None:
    engine = FakeEngine()
    engine.is_full = True
    replica = fake_replica(engine)
    async with asgi_client(replica) as client:
        response = await client.post("/v1/embeddings", json=BODY)
    assert (response.status_code, response.headers["retry-after"]) == (503, "7")
    assert 'reason="max_num_queued_reqs"} 1.0' in replica.metrics.render().decode()


async def test_one_that_fails_ends_all() -> None:
    engine = SilentEngine(None)
    async with asgi_client(fake_replica(engine)) as client:
        asking = asyncio.create_task(client.post("/v1/embeddings", json=BODY))
        while len(engine.streams) < 2:
            await asyncio.sleep(0)
        engine.streams[1].fail(EngineError("It broke."))
        response = await asking
    assert (response.status_code, response.json()["error"]["message"]) == (500, "It broke.")
    assert all(stream.has_ended for stream in engine.streams)


async def test_tokens_of_those_that_ended_are_counted_though_another_one_fails() -> None:
    engine = FakeEngine(None)
    allowance = Allowance(KeyLimits(tokens_per_minute=600), clock=lambda: 0.0)
    record = RequestRecord("id", "POST", "/v1/score", 0.0, allowance=allowance)
    runner = PromptRunner(fake_replica(engine).services, record, Origin(Identity.new(0.0)))
    prompts = [[1, 2], [3, 4, 5]]
    groups = [[PromptRun(token_ids, SamplingParams(max_tokens=1))] for token_ids in prompts]
    running = asyncio.create_task(runner.run(groups))
    while len(engine.streams) < 2:
        await asyncio.sleep(0)
    send(engine.streams[0], b"y", FinishReason.LENGTH)
    await asyncio.sleep(0.01)
    engine.streams[1].fail(EngineError("It broke."))
    with pytest.raises(EngineError):
        await running
    assert (b"x-ratelimit-remaining-tokens", b"%d" % (600 - 5 - 1)) in allowance.headers()


async def test_between_two_prompts_others_have_their_turn() -> None:
    seen: list[int] = []

    async def watch() -> None:
        while True:
            seen.append(len(engine.submitted))
            await asyncio.sleep(0)

    engine = FakeEngine()
    watching = asyncio.create_task(watch())
    async with asgi_client(fake_replica(engine)) as client:
        response = await client.post("/v1/embeddings", json={**BODY, "input": ["ab"] * 50})
    watching.cancel()
    assert response.status_code == 200
    assert set(seen) == set(range(51))


async def test_a_draining_server_takes_none() -> None:
    replica = fake_replica(FakeEngine())
    replica.drain.begin()
    async with asgi_client(replica) as client:
        response = await client.post("/v1/embeddings", json=BODY)
    assert response.json()["error"]["code"] == "shutting_down"
