"""Who waits for an endpoint, how long, in which order, and who is told to come back later."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from octavo.core.errors import OverloadedError, RateLimitError
from octavo.metrics.router_metrics import RouterMetrics
from octavo.router.waiting_room import QueueLimits, WaitingRoom
from tests.router import fake_server
from tests.router.fake_server import FakeServer, fake_servers
from tests.router.policies.some import request
from tests.router.routed import Routed, routed

pytestmark = pytest.mark.asyncio

ONE_AT_A_TIME = QueueLimits(seconds=30.0, max_requests=8, max_per_endpoint=1)


class Places:
    """Given out one by one."""

    def __init__(self, room: WaitingRoom) -> None:
        self.room = room
        self.num_free = 0
        self.order: list[str] = []

    async def ask(self, name: str, arrival: float, **fields: Any) -> str | None:
        def take() -> str | None:
            if not self.num_free:
                return None
            self.num_free -= 1
            self.order.append(name)
            return name

        return await self.room.wait(request(**fields), arrival, self.room.limits.seconds, take)

    def free(self) -> None:
        self.num_free += 1
        self.room.request_ended()


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def room_of(limits: QueueLimits, clock: Clock | None = None) -> tuple[WaitingRoom, RouterMetrics]:
    metrics = RouterMetrics()
    return WaitingRoom(limits, metrics, look_seconds=0.01, clock=clock or Clock()), metrics


async def in_order(places: Places, *asked: tuple[str, dict[str, Any]]) -> list[str]:
    """Everybody waits before the first place is free."""
    tasks = [
        asyncio.create_task(places.ask(name, 100.0 + number / 1000, **fields))
        for number, (name, fields) in enumerate(asked)
    ]
    await until(lambda: places.room.num_waiting == len(asked))
    for count in range(1, len(asked) + 1):
        places.free()
        await until(lambda count=count: len(places.order) == count)  # type: ignore[misc]
    assert sorted(filter(None, await asyncio.gather(*tasks))) == sorted(places.order)
    assert places.room.num_waiting == 0 and not places.room.has_line("m")
    return places.order


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_by_priority_then_arrival() -> None:
    room, _ = room_of(QueueLimits(seconds=30.0))
    asked = [("late", {"priority": 1}), ("first", {}), ("second", {}), ("last", {"priority": 5})]
    assert await in_order(Places(room), *asked) == ["first", "second", "late", "last"]


async def test_keys_take_turns_by_the_tokens_they_had() -> None:
    room, _ = room_of(QueueLimits(seconds=30.0))
    asked = [(f"a{n}", {"tenant": "a"}) for n in range(4)] + [(f"b{n}", {"tenant": "b"}) for n in range(2)]
    assert await in_order(Places(room), *asked) == ["a0", "b0", "a1", "b1", "a2", "a3"]


async def test_one_models_line_does_not_hold_up_another() -> None:
    room, _ = room_of(QueueLimits(seconds=30.0))
    full, free = Places(room), Places(room)
    waiting = asyncio.create_task(full.ask("x", 100.0))
    await until(lambda: room.num_waiting == 1)
    free.num_free = 1
    assert await free.ask("y", 100.0, model="other") == "y"
    waiting.cancel()
    await asyncio.wait([waiting])
    assert room.num_waiting == 0


async def test_the_line_is_bounded_for_all_and_for_each_key() -> None:
    room, metrics = room_of(QueueLimits(seconds=30.0, max_requests=9))
    places = Places(room)
    tasks = [asyncio.create_task(places.ask("a", 100.0, tenant="a")) for _ in range(8)]
    await until(lambda: room.num_waiting == 8)
    with pytest.raises(RateLimitError) as refused:
        await places.ask("a", 100.0, tenant="a")
    assert refused.value.retry_after_seconds == 60  # nothing has ended yet
    tasks.append(asyncio.create_task(places.ask("b", 100.0, tenant="b")))
    await until(lambda: room.num_waiting == 9)
    with pytest.raises(OverloadedError, match="9 requests wait"):
        await places.ask("c", 100.0, tenant="c")
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert room.num_waiting == 0
    count = metrics.registry.get_sample_value("octavo:router_queue_seconds_count", {"outcome": "refused"})
    assert count == 2


async def test_retry_after_is_the_wait_at_the_rate_of_late() -> None:
    clock = Clock()
    room, _ = room_of(QueueLimits(seconds=30.0), clock)
    for _ in range(10):
        room.request_ended()
        clock.now += 2.0
    tasks = [asyncio.create_task(Places(room).ask("a", clock.now)) for _ in range(7)]
    await until(lambda: room.num_waiting == 7)
    assert room.retry_after_seconds == 14
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_time_in_line_is_bounded_by_the_operator_and_by_the_client() -> None:
    for seconds, own in ((0.02, 9.0), (9.0, 0.02), (9.0, 0.0)):
        room = WaitingRoom(QueueLimits(seconds=seconds), RouterMetrics(), look_seconds=0.01)
        now = asyncio.get_running_loop().time()
        assert await Places(room).ask("x", now, queue_seconds=own) is None
        assert not room.has_line("m")


# Through a router


async def holding(server: FakeServer, router: Routed) -> asyncio.Task[httpx2.Response]:
    """A request that its endpoint has, and does not answer before server.is_held is over."""
    before = len(server.received)
    task = asyncio.create_task(router.ask())
    await until(lambda: len(server.received) > before)
    return task


def held_by(gate: asyncio.Event) -> Callable[..., Awaitable[None]]:
    async def behave(received: Any, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await fake_server.answer(received, writer)

    return behave


async def test_what_an_endpoint_may_not_get_waits_until_one_has_ended() -> None:
    gate = asyncio.Event()
    async with fake_servers(1) as (server,), routed([server.url], queue=ONE_AT_A_TIME) as router:
        server.behaviour = held_by(gate)
        first = await holding(server, router)
        waiting = [asyncio.create_task(router.ask()) for _ in range(3)]
        await until(lambda: router.router.room.num_waiting == 3)
        assert len(server.received) == 1
        assert "octavo:router_queue_requests 3.0" in (await router.client.get("/metrics")).text
        gate.set()
        assert [(await task).status_code for task in (first, *waiting)] == [200] * 4
        assert router.sample("octavo:router_queue_seconds_count", outcome="served") == 3
        assert router.sample("octavo:router_overhead_seconds_count") == 1  # waiting is no overhead


async def test_without_a_waiting_room_the_limit_refuses_at_once() -> None:
    gate, limits = asyncio.Event(), QueueLimits(max_per_endpoint=1)
    async with fake_servers(1) as (server,), routed([server.url], queue=limits) as router:
        server.behaviour = held_by(gate)
        first = await holding(server, router)
        refused = await router.ask()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "60")
        assert "Every endpoint has enough to do (r0: busy)" in refused.json()["error"]["message"]
        gate.set()
        assert (await first).status_code == 200


async def test_nobody_there_is_waited_for_and_an_unknown_model_is_not() -> None:
    async with fake_servers(1) as (server,), routed([server.url], queue=ONE_AT_A_TIME) as router:
        assert (await router.ask(model="none")).status_code == 404
        router.endpoints[0].is_ready = False
        waiting = asyncio.create_task(router.ask())
        await until(lambda: router.router.room.num_waiting == 1)
        router.endpoints[0].is_ready = True
        assert (await waiting).status_code == 200
        router.endpoints[0].is_ready = False
        late = await router.client.post(
            "/v1/completions", json={"model": "tiny"}, headers={"x-octavo-queue-seconds": "0.01"}
        )
        assert (late.status_code, late.headers["retry-after"]) == (503, "3")
        wrong = await router.client.post(
            "/v1/completions", json={"model": "tiny"}, headers={"x-octavo-queue-seconds": "soon"}
        )
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "x-octavo-queue-seconds")


async def test_a_refusal_is_waited_out() -> None:
    async with fake_servers(1) as (server,), routed([server.url], queue=ONE_AT_A_TIME) as router:
        server.behaviour = fake_server.status(503, retry_after="7")
        waiting = asyncio.create_task(router.ask())
        await until(lambda: router.router.room.num_waiting == 1)
        server.behaviour = fake_server.answer
        assert (await waiting).status_code == 200


async def test_who_is_over_a_limit_of_its_own_holds_up_nobody() -> None:
    async with fake_servers(1) as (server,), routed([server.url], queue=ONE_AT_A_TIME) as router:
        server.behaviour = fake_server.status(429, retry_after="7")
        refused = await router.ask()
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
        server.behaviour = fake_server.answer
        assert (await router.ask()).status_code == 200
        assert len(server.received) == 2 and not router.sample("octavo:router_queue_seconds_count")


async def test_an_endpoint_that_is_gone_unnoticed_is_not_asked_without_end() -> None:
    limits = QueueLimits(seconds=1.0)
    async with fake_servers(1) as (server,), routed([server.url], queue=limits) as router:
        await server.stop()
        response = await router.ask()
        assert (response.status_code, response.json()["error"]["code"]) == (502, "endpoint_failed")
        assert response.headers["x-should-retry"] == "true"
        failures = {"reason": "connect", "outcome": "failed again"}
        tried = router.sample("octavo:router_failovers_total", **failures)
        assert 1 <= tried <= 10  # in a second, with 0.1 s or more between two
        waiting = asyncio.create_task(router.ask())
        await until(lambda: router.sample("octavo:router_failovers_total", **failures) > tried)
        await server.start()
        assert (await waiting).status_code == 200


async def test_a_replica_that_is_short_of_memory_is_spared() -> None:
    async with fake_servers(2) as servers, routed([s.url for s in servers]) as router:
        router.endpoints[0].is_short_of_memory = True
        assert [(await router.ask()).status_code for _ in range(4)] == [200] * 4
        assert not servers[0].received
        router.endpoints[1].is_short_of_memory = True  # all are: without a waiting room it waits there
        assert (await router.ask()).status_code == 200
    async with fake_servers(1) as (server,), routed([server.url], queue=ONE_AT_A_TIME) as router:
        router.endpoints[0].is_short_of_memory = True
        waiting = asyncio.create_task(router.ask())
        await until(lambda: router.router.room.num_waiting == 1)
        assert not server.received
        router.endpoints[0].is_short_of_memory = False
        assert (await waiting).status_code == 200


async def test_a_client_that_leaves_the_line_leaves_no_trace() -> None:
    async with fake_servers(1) as (server,), routed([server.url], queue=ONE_AT_A_TIME) as router:
        router.endpoints[0].is_ready = False
        waiting = asyncio.create_task(router.ask())
        await until(lambda: router.router.room.num_waiting == 1)
        waiting.cancel()
        await until(lambda: not router.router.room.num_waiting and not router.proxy.num_running)
        assert not router.router.room.has_line("tiny")
