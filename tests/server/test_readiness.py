"""/readyz says no whenever a request would fail, and why."""

import asyncio

import pytest

from octavo.core.errors import EngineError
from octavo.engine.streams import RequestStream
from tests.fakes import FakeEngine, FakeReplica, fake_replica
from tests.server.serving import asgi_client

pytestmark = pytest.mark.asyncio


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def ready_replica(clock: Clock | None = None, **options: float) -> FakeReplica:
    replica = fake_replica(FakeEngine(), clock=clock or Clock(), **options)
    await replica.readiness.record()
    return replica


async def test_a_sound_engine_is_ready() -> None:
    replica = await ready_replica()
    async with asgi_client(replica) as client:
        for path in ("/readyz", "/health"):
            response = await client.get(path)
            assert (response.status_code, response.json()) == (200, {"status": "ready"})


async def test_an_unready_engine_says_why() -> None:
    replica = await ready_replica()
    replica.engine.is_ready = False
    async with asgi_client(replica) as client:
        response = await client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"status": "unready", "reason": "The engine is being restarted."}


async def test_a_draining_server_is_not_ready() -> None:
    replica = await ready_replica()
    replica.drain.begin()
    assert await replica.readiness.complaint() == "The server is shutting down."


async def test_want_of_progress_is_not_ready() -> None:
    replica = await ready_replica(progress_limit_seconds=3.0)
    replica.engine.seconds_since_progress = 3.0
    assert await replica.readiness.complaint() is None
    replica.engine.seconds_since_progress = 3.5
    assert "no progress" in str(await replica.readiness.complaint())


async def test_a_wrong_answer_is_not_ready() -> None:
    clock = Clock()
    replica = await ready_replica(clock)
    replica.engine.probe_answer = b"abce"
    clock.now += 5
    assert "not the one it gave at start" in str(await replica.readiness.complaint())


async def test_probes_are_cached() -> None:
    clock = Clock()
    replica = await ready_replica(clock, cache_seconds=5.0)
    assert replica.engine.num_probes == 1
    clock.now += 4.9
    assert await replica.readiness.complaint() is None
    assert replica.engine.num_probes == 1
    clock.now += 0.1
    await asyncio.gather(*(replica.readiness.complaint() for _ in range(10)))
    assert replica.engine.num_probes == 2


async def test_an_engine_that_does_not_answer_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    replica = await ready_replica(clock, probe_timeout_seconds=0.01)
    clock.now += 5
    monkeypatch.setattr("tests.fakes.send", lambda *arguments: None)
    assert "did not answer a probe" in str(await replica.readiness.complaint())
    assert replica.engine.aborted == ["probe-2"]


async def test_a_failed_probe_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    replica = await ready_replica(clock)
    clock.now += 5

    def fail(stream: RequestStream, *arguments: object) -> None:
        stream.fail(EngineError("Logits were not finite."))

    monkeypatch.setattr("tests.fakes.send", fail)
    assert "Logits were not finite." in str(await replica.readiness.complaint())


async def test_probes_do_not_count() -> None:
    replica = await ready_replica()
    rendered = replica.metrics.render().decode()
    assert 'vllm:request_success_total{engine="0",finished_reason="length",model_name="tiny"} 0.0' in rendered
