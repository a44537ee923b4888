"""Losses in a row: what is the replicas' fault costs nothing; what may be the request's ends soon."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from octavo.core.errors import EngineError
from octavo.core.relay import ReplicaCard
from octavo.engine.streams import RequestStream
from octavo.router.delivery import DeliveryLimits
from octavo.router.endpoints import Endpoint
from octavo.router.recovery import MAX_ATTEMPTS, AttemptFailed, Recovery
from octavo.router.retry_budget import RetryBudget
from tests.e2e.failover.proxy import CutProxy
from tests.fakes import PacedEngine
from tests.router.routed import Routed, routed
from tests.server.serving import serving

pytestmark = pytest.mark.asyncio

SECRET = "shared"
ANSWER = b"Eins, zwei, drei, vier; und noch mehr"
SILENCE = 0.3  # seconds


class DoomedEngine(PacedEngine):
    """Something befalls its replica at the n-th token of each of the next requests."""

    def __init__(self) -> None:
        super().__init__(ANSWER, pace=0.002)
        self.proxy = CutProxy(0)
        self.dooms: list[tuple[int, str]] = []  # shared: (n, what), in order
        self.num_befallen = 0

    def submit(self, prompt_token_ids: list[int], sampling: Any, **options: Any) -> RequestStream:
        stream = super().submit(prompt_token_ids, sampling, **options)
        if not stream.is_probe and self.dooms:
            after, what = self.dooms.pop(0)
            task = asyncio.create_task(self._befall(stream, after, what))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return stream

    async def _befall(self, stream: RequestStream, after: int, what: str) -> None:
        first = stream.num_output_tokens
        while stream.num_output_tokens - first < after:
            await asyncio.sleep(0.001)
        self.num_befallen += 1
        if what == "killed":
            self.proxy.reset()
        elif what == "cut":
            self.proxy.is_cut = True
            asyncio.get_running_loop().call_later(2 * SILENCE, self.proxy.reset)
        else:
            stream.fail(EngineError("The engine died of this request."))


@contextlib.asynccontextmanager
async def fleet(*dooms: tuple[int, str], **options: Any) -> AsyncIterator[tuple[list[DoomedEngine], Routed]]:
    """Three replicas, each behind a proxy; once dooms are over they are left in peace."""
    engines = [DoomedEngine() for _ in range(3)]
    shared = list(dooms)
    async with contextlib.AsyncExitStack() as stack:
        for engine in engines:
            _, url = await stack.enter_async_context(serving(engine, secret=SECRET))
            engine.proxy.target_port = int(url.rpartition(":")[2])
            await engine.proxy.start()
            stack.push_async_callback(engine.proxy.stop)
        limits = DeliveryLimits(first_token=SILENCE, inter_token=SILENCE, total=20.0)
        urls = [engine.proxy.url for engine in engines]
        router = await stack.enter_async_context(routed(urls, secret=SECRET, limits=limits, **options))
        for engine in engines:
            engine.dooms = shared
        yield engines, router


async def told(router: Routed) -> list[Any]:
    """What a client is told, without the names of this one request."""
    response = await router.ask(stream=True, stream_options={"include_usage": True})
    events = [json.loads(line[6:]) for line in response.text.split("\n\n") if line.startswith("data: {")]
    assert len({(event.pop("id"), event.pop("created")) for event in events}) == 1
    return events


@pytest.mark.parametrize("first", (8, 0), ids=("in mid-stream", "before the first token"))
@pytest.mark.parametrize("what", ("killed", "cut"))
@pytest.mark.parametrize("num_losses", (2, 4))
async def test_losses_in_a_row_cost_a_stream_nothing(num_losses: int, what: str, first: int) -> None:
    async with fleet() as (_, router):
        undisturbed = await told(router)
    dooms = [(first, what), *[(0, what)] * (num_losses - 1)]
    async with fleet(*dooms) as (engines, router):
        assert await told(router) == undisturbed
        assert sum(engine.num_befallen for engine in engines) == num_losses
        assert all(endpoint.load.num_tokens == 0 for endpoint in router.endpoints)


async def test_a_request_that_its_engines_die_of_stops_at_the_second() -> None:
    async with fleet(*[(0, "died of it")] * 3) as (engines, router):
        response = await router.ask()
        assert (response.status_code, response.json()["error"]["code"]) == (500, "engine_error")
        assert sum(engine.num_befallen for engine in engines) == 2


def endpoint(*, is_octavo: bool) -> Endpoint:
    made = Endpoint("http://127.0.0.1:1", name="r")
    made.card = ReplicaCard("fingerprint", 64) if is_octavo else None
    return made


def recovery(patience_seconds: float = 0.0, reserve: float = 100.0) -> Recovery:
    return Recovery(RetryBudget(share=0, reserve=reserve), patience_seconds=patience_seconds)


@pytest.mark.parametrize(
    ("reason", "is_octavo", "num_attempts"),
    [
        *((reason, False, 2) for reason in ("cut", "timeout", "gone", "garbage", "status 500")),
        *((reason, True, 2) for reason in ("garbage", "status 500")),
        *((reason, True, MAX_ATTEMPTS) for reason in ("cut", "timeout", "gone", "draining", "connect")),
        *((reason, False, MAX_ATTEMPTS) for reason in ("status 503", "status 429", "connect")),
    ],
)
async def test_how_often_a_request_is_tried(reason: str, is_octavo: bool, num_attempts: int) -> None:
    tried = recovery()
    for attempt in range(1, num_attempts + 1):
        tried.observe(AttemptFailed(reason, ""), endpoint(is_octavo=is_octavo))
        assert tried.may_try_again(is_resumption=False) == (attempt < num_attempts)
    assert tried.is_suspect == (num_attempts == 2)


async def test_progress_clears_a_request_and_leaves_out_only_who_failed() -> None:
    tried, replicas = recovery(), [endpoint(is_octavo=True) for _ in range(3)]
    tried.observe(AttemptFailed("status 500", ""), replicas[0])
    tried.observe(AttemptFailed("cut", "", has_progressed=True), replicas[1])
    tried.observe(AttemptFailed("status 500", ""), replicas[2])
    assert not tried.is_suspect and tried.tried == {replicas[1], replicas[2]}


async def test_only_who_was_lost_is_owed_another_round() -> None:
    for reason, is_octavo, is_owed in (
        ("cut", True, True),
        ("cut", False, False),
        ("status 503", True, False),
    ):
        tried = recovery(patience_seconds=0.01)
        tried.observe(AttemptFailed(reason, ""), endpoint(is_octavo=is_octavo))
        assert await tried.next_round(is_resumption=False) == is_owed
        assert bool(tried.tried) != is_owed
        assert not await tried.next_round(is_resumption=False)  # patience is at its end


async def test_a_resumption_is_not_charged() -> None:
    tried = recovery(reserve=0.0)
    tried.observe(AttemptFailed("timeout", ""), endpoint(is_octavo=True))
    assert tried.may_try_again(is_resumption=True) and not tried.may_try_again(is_resumption=False)
