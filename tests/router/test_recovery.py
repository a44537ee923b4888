"""Losses in a row: what is the replicas' fault costs nothing; what may be the request's ends soon."""

import pytest

from octavo.core.relay import ReplicaCard
from octavo.router.endpoints import Endpoint
from octavo.router.recovery import MAX_ATTEMPTS, AttemptFailed, Recovery
from octavo.router.retry_budget import RetryBudget
from tests.router.doomed import fleet, told

pytestmark = pytest.mark.asyncio


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
