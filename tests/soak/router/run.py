"""A soak of the router: random requests while replicas are killed, removed and added.

Every good request must be answered, and alike to the byte, since one replica at a time is missing; and
nothing of them may stay behind.
"""

import asyncio
import collections
import contextlib
import dataclasses
import functools
import json
import random
import re
from collections.abc import Callable, Sequence

import httpx2

from tests.soak.report import Check, slope
from tests.soak.router.processes import ADMIN_KEY, ReplicaProcess, RouterProcess
from tests.soak.router.replica import ANSWER

SAMPLE_EVERY = 100  # requests
NUM_LOOKS = 8  # at what is alive under load
NUM_PROMPTS = 300  # so that what is remembered of prompts is soon complete
WARM_UP = 0.3  # of the samples: what is bounded fills
NOISE_MIB, GROWTH_MIB = 3.0, 0.02  # by which memory may grow, and for each 1,000 requests besides
GONE_SECONDS = 60.0  # for endpoints that have nothing to do to leave
READY_SECONDS = 300.0  # a busy machine is not a fault
LEAVING_SECONDS = 0.02  # at most, until a client that leaves does
KINDS = {"whole": 30, "stream": 50, "leaves": 10, "no JSON": 4, "no such model": 3, "bad field": 3}
COUNTED = ("fd", "tasks", "delivery", "endpoint", "reservation", "connection")  # of these there must be some
REFUSALS = {"no JSON": 400, "no such model": 404, "bad field": 400}


@dataclasses.dataclass(frozen=True)
class Plan:
    """Every so many requests something happens to a replica: it is killed, or removed and added again."""

    num_requests: int
    disturb_every: int
    concurrency: int = 32
    seed: int = 1


class RouterSoak:
    def __init__(
        self,
        plan: Plan,
        router: RouterProcess,
        replicas: Sequence[ReplicaProcess],
        print_progress: Callable[[str], None],
    ) -> None:
        self.wrong: list[str] = []
        self.by_fate: collections.Counter[str] = collections.Counter()
        self.disturbances: collections.Counter[str] = collections.Counter()
        self._plan = plan
        self._router = router
        self._replicas = list(replicas)
        self._print = print_progress
        self._lots = random.Random(plan.seed)
        self._prompts = ["".join(self._lots.choices("abcdefgh ", k=3 * n + 1)) for n in range(NUM_PROMPTS)]
        self._memory: list[tuple[float, float]] = []
        self._num_asked = 0
        self._busy: dict[str, int] = {}  # most of what was alive under load, by kind
        self._num_failovers = 0.0

    async def run(self) -> list[Check]:
        idle = self._router.alive()
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        headers = {"authorization": f"Bearer {ADMIN_KEY}"}
        async with (
            httpx2.AsyncClient(base_url=self._router.url, timeout=120, limits=limits) as client,
            httpx2.AsyncClient(base_url=self._router.admin_url, headers=headers, timeout=60) as admin,
        ):
            for replica in self._replicas:
                await self._add(admin, replica)
            await self._until_ready(admin)
            disturbing = asyncio.create_task(self._disturb(admin))
            await asyncio.gather(*(self._ask_on(client) for _ in range(self._plan.concurrency)))
            if disturbing.done():  # it has no end of its own
                self.wrong.append(
                    f"replicas were left in peace from some time on: {disturbing.exception()!r}"
                )
            disturbing.cancel()
            await asyncio.wait([disturbing])
            held = await self._held(client, admin)
            for name in await self._names(admin):
                await admin.delete(f"/endpoints/{name}")
            try:
                await self._until(lambda rows: not rows, admin, GONE_SECONDS)
            except TimeoutError:  # what it owes is below, among the reservations
                self.wrong.append("endpoints that were removed do not leave")
        await asyncio.sleep(1.0)  # for the last bytes of the connections that were closed
        return self._checks(idle, self._router.alive(), held)

    # Requests

    async def _ask_on(self, client: httpx2.AsyncClient) -> None:
        while self._num_asked < self._plan.num_requests:
            self._num_asked += 1
            if self._num_asked % SAMPLE_EVERY == 0:
                self._memory.append((self._num_asked, self._router.anonymous_mib()))
            if self._num_asked % max(1, self._plan.num_requests // NUM_LOOKS) == 0:
                self._look()
            if self._num_asked % 5000 == 0:
                self._print(f"{self._num_asked:,} requests, {len(self.wrong)} wrong")
            kind = self._lots.choices(list(KINDS), KINDS.values())[0]
            try:
                fate = await self._ask(client, kind)
            except httpx2.HTTPError as error:
                fate = f"{kind}: {error!r}"
            self.by_fate[kind] += 1
            if fate is not None:
                self.wrong.append(f"request {self._num_asked}, {kind}: {fate}")

    def _look(self) -> None:
        for kind, count in self._router.alive().items():
            self._busy[kind] = max(count, self._busy.get(kind, 0))

    async def _ask(self, client: httpx2.AsyncClient, kind: str) -> str | None:
        """What was wrong."""
        body = {"model": "tiny", "prompt": self._lots.choice(self._prompts), "max_tokens": 50}
        if kind in REFUSALS:
            body |= {"model": "none"} if kind == "no such model" else {"max_tokens": -1}
            content = b"{" if kind == "no JSON" else json.dumps(body).encode()
            sent = {"content-type": "application/json"}
            response = await client.post("/v1/completions", content=content, headers=sent)
            return None if response.status_code == REFUSALS[kind] else f"answered {response.status_code}"
        if kind == "whole":
            response = await client.post("/v1/completions", json=body)
            is_right = response.status_code == 200 and response.json()["choices"][0]["text"] == ANSWER
            return None if is_right else f"answered {response.status_code}: {response.text[:300]}"
        if kind == "leaves":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._lots.uniform(0, LEAVING_SECONDS)):
                    await client.post("/v1/completions", json={**body, "stream": True})
            return None
        response = await client.post("/v1/completions", json={**body, "stream": True})
        lines = [line[6:] for line in response.text.splitlines() if line.startswith("data: {")]
        text = "".join(choice["text"] for line in lines for choice in json.loads(line).get("choices", ()))
        is_right = text == ANSWER and response.text.endswith("data: [DONE]\n\n")
        return None if is_right else f"streamed {response.text[-300:]}"

    # Replicas

    async def _disturb(self, admin: httpx2.AsyncClient) -> None:
        """The next one only when all are ready again."""
        due = self._plan.disturb_every
        while True:
            await asyncio.sleep(0.05)
            if self._num_asked < due:
                continue
            replica = self._lots.choice(self._replicas)
            if not self.disturbances["killed"] or self._lots.random() < 0.7:
                await self._until(functools.partial(_is_busy, replica.url), admin)
                replica.restart()
                self.disturbances["killed"] += 1
            else:
                (name,) = [row["name"] for row in await self._endpoints(admin) if row["url"] == replica.url]
                await admin.delete(f"/endpoints/{name}")
                await self._add(admin, replica)
                self.disturbances["removed and added"] += 1
            await self._until_ready(admin)
            due = self._num_asked + self._plan.disturb_every

    async def _add(self, admin: httpx2.AsyncClient, replica: ReplicaProcess) -> None:
        response = await admin.post("/endpoints", json={"url": replica.url})
        assert response.status_code == 201, response.text

    async def _endpoints(self, admin: httpx2.AsyncClient) -> list[dict[str, object]]:
        found: list[dict[str, object]] = (await admin.get("/endpoints")).json()
        return found

    async def _names(self, admin: httpx2.AsyncClient) -> list[str]:
        return [str(row["name"]) for row in await self._endpoints(admin)]

    async def _until_ready(self, admin: httpx2.AsyncClient) -> None:
        """All that are to be there, and no other. One that was killed just now may not have been missed."""
        await asyncio.sleep(0.7)
        await self._until(
            lambda rows: len(rows) == len(self._replicas) and all(row["ready"] for row in rows), admin
        )

    async def _until(
        self,
        condition: Callable[[list[dict[str, object]]], bool],
        admin: httpx2.AsyncClient,
        seconds: float = READY_SECONDS,
    ) -> None:
        async with asyncio.timeout(seconds):
            while not condition(await self._endpoints(admin)):
                await asyncio.sleep(0.05)

    async def _held(self, client: httpx2.AsyncClient, admin: httpx2.AsyncClient) -> dict[str, object]:
        """Of endpoints that have nothing to do."""
        rows = await self._endpoints(admin)
        metrics = (await client.get("/metrics")).text
        failovers = re.findall(r'router_failovers_total{outcome="answered",.*} (\S+)', metrics)
        self._num_failovers = sum(map(float, failovers))
        waiting = re.search(r"^octavo:router_queue_requests (\S+)$", metrics, re.MULTILINE)
        return {
            "requests": sum(int(str(row["requests"])) for row in rows),
            "tokens": sum(int(str(row["reserved_tokens"])) for row in rows),
            "waiting": float(waiting[1]) if waiting else "not told",
        }

    def _checks(self, idle: dict[str, int], after: dict[str, int], held: dict[str, object]) -> list[Check]:
        warm = [point for point in self._memory if point[0] >= WARM_UP * self._num_asked]
        rate = slope(warm)
        span = (warm[-1][0] - warm[0][0]) / 1000 if warm else 0.0
        sizes = [size for _, size in self._memory]
        complaints = self._router.complaints()
        return [
            Check("answers", not self.wrong, f"{len(self.wrong)} wrong: {self.wrong[:5]}"),
            self._disturbances(),
            Check("reservations", not any(held.values()), f"held at the end: {held}"),
            Check("alive", after == idle, f"{after}; before the first endpoint {idle}"),
            Check("counts", all(map(self._busy.get, COUNTED)), f"at most under load: {self._busy}"),
            Check(
                "memory",
                rate * span <= NOISE_MIB + GROWTH_MIB * span,
                f"{sizes[0]:.1f} to {sizes[-1]:.1f} MiB; {rate:+.4f} MiB for 1,000 requests over {span:.0f}",
            ),
            Check("log", not complaints, f"{len(complaints)} complaints: {complaints[:5]}"),
        ]

    def _disturbances(self) -> Check:
        """A quarter of those planned, since a busy machine is late with them; and they were felt."""
        planned, num = self._plan.num_requests // self._plan.disturb_every, sum(self.disturbances.values())
        is_well = num > 0 and num >= planned // 4 and self.disturbances["killed"] > 0
        text = f"{dict(self.disturbances)} of {planned} planned; {self._num_failovers:.0f} attempts made good"
        return Check("disturbances", is_well and self._num_failovers > 0, text)


def _is_busy(url: str, rows: list[dict[str, object]]) -> bool:
    return any(row["url"] == url and row["requests"] for row in rows)
