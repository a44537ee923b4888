"""A replica is added to a fleet of processes under load, and one is taken away, by the clock: what share the
new one has of the next ten seconds, and that nobody loses anything."""

import asyncio
import contextlib
import dataclasses
import json
import pathlib
import random
from collections.abc import AsyncIterator, Callable, Iterator

import httpx2
import pytest

from tests.soak.router.processes import ADMIN_KEY, ReplicaProcess, RouterProcess
from tools.fleet_simulation.workloads import Arrival, shared_prefixes, unique
from tools.router_overhead.proxies import free_port

pytestmark = [pytest.mark.full, pytest.mark.timeout(600), pytest.mark.asyncio]

NUM_REPLICAS = 3
OUTPUT_TOKENS = 16
BEFORE_SECONDS, SHARE_SECONDS, AFTER_SECONDS = 10.0, 10.0, 3.0
Arrivals = Callable[[random.Random, int, float], Iterator[Arrival]]


@dataclasses.dataclass(frozen=True)
class Answer:
    endpoint: str
    sent: float  # seconds, on the loop's clock
    wrong: str | None


class Load:
    """Requests that come whether others have been answered or not."""

    def __init__(self, client: httpx2.AsyncClient, arrivals: Iterator[Arrival]) -> None:
        self._client = client
        self._arrivals = arrivals
        self.answers: list[Answer] = []

    async def run(self) -> None:
        """Until cancelled; then what has been asked is still answered."""
        loop = asyncio.get_running_loop()
        start, asking = loop.time(), set[asyncio.Task[None]]()
        try:
            for arrival in self._arrivals:
                await asyncio.sleep(start + arrival.seconds - loop.time())
                asking.add(asyncio.create_task(self._ask(arrival, loop.time())))
        except asyncio.CancelledError:
            await asyncio.gather(*asking)

    async def _ask(self, arrival: Arrival, sent: float) -> None:
        prompt = "".join(chr(ord("a") + token % 26) for token in arrival.token_ids)
        body = {"model": "tiny", "prompt": prompt, "max_tokens": OUTPUT_TOKENS, "stream": True}
        response = await self._client.post(
            "/v1/completions", json={**body, "stream_options": {"include_usage": True}}
        )
        endpoint = response.headers.get("x-octavo-route", "").partition(";")[0]
        self.answers.append(Answer(endpoint, sent, _complaint(response)))

    def share(self, endpoint: str, begin: float, end: float) -> float:
        """Of the requests sent meanwhile; 1 is an equal one."""
        sent = [answer.endpoint for answer in self.answers if begin <= answer.sent < end]
        return sent.count(endpoint) / len(sent) * NUM_REPLICAS


def _complaint(response: httpx2.Response) -> str | None:
    """What is wrong with an answer."""
    if response.status_code != 200 or not response.text.endswith("data: [DONE]\n\n"):
        return f"{response.status_code}: {response.text[-300:]}"
    chunks = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    usage = chunks[-1]["usage"]
    return None if usage["completion_tokens"] == OUTPUT_TOKENS else f"{usage}"


@contextlib.asynccontextmanager
async def fleet(folder: pathlib.Path) -> AsyncIterator[tuple[RouterProcess, list[ReplicaProcess]]]:
    replicas = [ReplicaProcess(free_port(), "tests.e2e.timed_replica") for _ in range(NUM_REPLICAS)]
    try:
        router = await asyncio.to_thread(RouterProcess, folder)
        try:
            yield router, replicas
        finally:
            router.stop()
    finally:
        for replica in replicas:
            replica.kill()


class Operator:
    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def add(self, replica: ReplicaProcess) -> str:
        """Its endpoint, as answers name it."""
        response = await self._client.post("/endpoints", json={"url": replica.url})
        assert response.status_code == 201, response.text
        return f"endpoint={response.json()['name']}"

    async def remove(self, endpoint: str) -> None:
        """Until it is gone."""
        name = endpoint.partition("=")[2]
        assert (await self._client.delete(f"/endpoints/{name}")).status_code == 202
        await self.until(lambda rows: all(row["name"] != name for row in rows))

    async def until(self, condition: Callable[[list[dict[str, object]]], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition((await self._client.get("/endpoints")).json()):
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def loaded(router: RouterProcess, arrivals: Iterator[Arrival]) -> AsyncIterator[Load]:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(base_url=router.url, timeout=120, limits=limits) as client:
        load = Load(client, arrivals)
        running = asyncio.create_task(load.run())
        try:
            yield load
        finally:
            running.cancel()
            await running


@pytest.mark.parametrize(
    ("name", "arrivals", "rate", "least"),
    [("unique prompts", unique, 2.5, 0.7), ("shared prefixes", shared_prefixes, 5.0, 0.3)],
    ids=("unique", "shared"),
)
async def test_the_share_of_one_that_joins_and_that_one_that_leaves_takes_nothing_along(
    name: str,
    arrivals: Arrivals,
    rate: float,
    least: float,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """rate: of requests a second, for each replica in the end. The load is one that two replicas can bear."""
    lots, clock = random.Random(1), asyncio.get_running_loop().time
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    async with (
        fleet(tmp_path) as (router, replicas),
        httpx2.AsyncClient(base_url=router.admin_url, headers=headers, timeout=60) as admin,
    ):
        operator = Operator(admin)
        first = [await operator.add(replica) for replica in replicas[:2]]
        await operator.until(lambda rows: all(row["ready"] for row in rows))
        async with loaded(router, arrivals(lots, NUM_REPLICAS, NUM_REPLICAS * rate)) as load:
            await asyncio.sleep(BEFORE_SECONDS)
            joined = clock()
            newcomer = await operator.add(replicas[2])
            await asyncio.sleep(SHARE_SECONDS)
            await operator.remove(first[0])
            gone = clock()
            await asyncio.sleep(AFTER_SECONDS)
    shares = {end: load.share(newcomer, joined, joined + end) for end in (2.0, 5.0, SHARE_SECONDS)}
    shown = ", ".join(f"{share:.2f} in {end:g} s" for end, share in shares.items())
    with capsys.disabled():
        print(f"\n{name}: {len(load.answers)} requests, none lost; share of the new one: {shown}")
    assert not [answer for answer in load.answers if answer.wrong]
    assert shares[SHARE_SECONDS] > least
    assert load.share(newcomer, joined - BEFORE_SECONDS, joined) == 0  # so it is seen who is not there
    assert load.share(first[0], gone, gone + AFTER_SECONDS) == 0
    assert load.share(first[0], joined, gone) > 0
