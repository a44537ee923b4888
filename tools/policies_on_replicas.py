"""Compares routing policies on two real replicas of the built-in model, asked as simulated ones are.

.venv/bin/python -m tools.policies_on_replicas

`octavo up` runs once for all policies, named by a header of each request; a run's salt keeps others' caches
out of it. Arrivals are as much slower than in the simulation as these replicas are.
"""

import argparse
import asyncio
import contextlib
import heapq
import itertools
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator

import httpx2

from tools.fleet_simulation.fleet import COST, Figures
from tools.fleet_simulation.workloads import OUTPUT_TOKENS, WORKLOADS, Arrival, Workload

VALUES = "replicaCount: 2\nmodel: {kvCacheMemory: 533MiB, maxModelLen: 4096}\n"  # 24,000 tokens each
STOP_SECONDS = 0.1  # of a slow replica's engine, and then it runs for as long as makes it so slow
PROBE_TOKENS = 512


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.policies_on_replicas", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each run")
    parser.add_argument("--policies", nargs="+", default=["cost", "least-load", "round-robin"])
    parser.add_argument("--workloads", nargs="+", default=[workload.name for workload in WORKLOADS])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with fleet() as (url, supervisor):
        asyncio.run(compare(url, supervisor, options))


@contextlib.contextmanager
def fleet() -> Iterator[tuple[str, int]]:
    """(URL, the supervisor's process id) of a running one."""
    command = [sys.executable, "-c", "import sys; from octavo.cli.main import main; sys.exit(main())"]
    with tempfile.TemporaryDirectory() as folder:
        file, said = pathlib.Path(folder) / "values.yaml", pathlib.Path(folder) / "said"
        file.write_text(VALUES)
        with said.open("w") as output:
            process = subprocess.Popen([*command, "up", str(file), "--port", "0"], stderr=output)
        try:
            while (found := re.search(r"^ready in .*: (http://\S+)/v1$", said.read_text(), re.M)) is None:
                assert process.poll() is None, said.read_text()
                time.sleep(0.2)
            yield found[1], process.pid
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


async def compare(url: str, supervisor: int, options: argparse.Namespace) -> None:
    async with httpx2.AsyncClient(base_url=url, timeout=300, limits=httpx2.Limits()) as client:
        stretch = await seconds_per_token(client) / COST.per_token
        print(f"arrivals {stretch:.1f} times as slow as in the simulation, {options.seconds:g} s each")
        for workload in WORKLOADS:
            if workload.name in options.workloads:
                print(f"\n{workload.name}\n{'policy':16} requests   hits  TTFT p50       p99   tok/s")
                for policy in options.policies:
                    async with slowed(supervisor, workload.slowness):
                        run = Run(client, policy, stretch, options.seconds)
                        show(policy, await run.run(workload, options.seed))


def show(policy: str, figures: Figures) -> None:
    if not figures.first_token_seconds:
        print(f"{policy:16} nobody came: --seconds is too short for this workload", flush=True)
        return
    print(
        f"{policy:16} {len(figures.first_token_seconds):8} {figures.hit_rate:6.1%} {figures.p50:8.3f}s"
        f" {figures.p99:8.3f}s {figures.tokens_per_second:7.0f}",
        flush=True,
    )


async def seconds_per_token(client: httpx2.AsyncClient) -> float:
    """Of a prompt, at best."""
    lots, seconds = random.Random(0), []
    for _ in range(4):
        prompt = [lots.randrange(1000) for _ in range(PROBE_TOKENS)]
        start = time.perf_counter()
        body = {"model": "default", "prompt": prompt, "max_tokens": 1}
        (await client.post("/v1/completions", json=body)).raise_for_status()
        seconds.append(time.perf_counter() - start)
    return min(seconds) / PROBE_TOKENS


@contextlib.asynccontextmanager
async def slowed(supervisor: int, slowness: float) -> AsyncIterator[None]:
    """The first replica's engine takes slowness times as long, for it is stopped again and again."""
    if slowness == 1.0:
        yield
        return
    engine = children(children(supervisor)[1])[0]

    async def hinder() -> None:
        while True:
            os.kill(engine, signal.SIGSTOP)
            await asyncio.sleep(STOP_SECONDS)
            os.kill(engine, signal.SIGCONT)
            await asyncio.sleep(STOP_SECONDS / (slowness - 1))

    hindering = asyncio.create_task(hinder())
    try:
        yield
    finally:
        hindering.cancel()
        os.kill(engine, signal.SIGCONT)


def children(pid: int) -> list[int]:
    """In the order of their starts."""
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Run:
    """One policy and one workload."""

    def __init__(self, client: httpx2.AsyncClient, policy: str, stretch: float, seconds: float) -> None:
        self._client = client
        self._headers = {"x-octavo-policy": policy}
        self._stretch = stretch
        self._seconds = seconds
        self._salt = os.urandom(8).hex()
        self._figures = Figures()
        self._due: list[tuple[float, int, Arrival]] = []
        self._numbers = itertools.count()
        self._start = 0.0

    async def run(self, workload: Workload, seed: int) -> Figures:
        """What arrives within the time, to its end."""
        horizon = self._seconds / self._stretch
        arrivals = workload.arrivals(random.Random(seed), 2, 2 * workload.requests_per_second)
        for arrival in itertools.takewhile(lambda arrival: arrival.seconds < horizon, arrivals):
            heapq.heappush(self._due, (arrival.seconds, next(self._numbers), arrival))
        self._start = time.perf_counter()
        tasks: set[asyncio.Task[None]] = set()
        while self._due or tasks:
            while self._due and self._due[0][0] <= self._now:
                tasks.add(asyncio.create_task(self._ask(heapq.heappop(self._due)[2])))
            pause = (self._due[0][0] - self._now) * self._stretch if self._due else None
            if not tasks:
                await asyncio.sleep(pause or 0)
                continue
            _, tasks = await asyncio.wait(tasks, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        self._figures.end_seconds = time.perf_counter() - self._start
        return self._figures

    @property
    def _now(self) -> float:
        """In the simulation's seconds."""
        return (time.perf_counter() - self._start) / self._stretch

    async def _ask(self, arrival: Arrival) -> None:
        start, first, usage = time.perf_counter(), None, {}
        token_ids: list[int] = []
        body = {
            "model": "default",
            "prompt": arrival.token_ids,
            "max_tokens": OUTPUT_TOKENS,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
            "cache_salt": self._salt,
        }
        async with self._client.stream(
            "POST", "/v1/completions", json=body, headers=self._headers
        ) as response:
            assert response.status_code == 200, await response.aread()
            async for line in response.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line[6:])
                usage = chunk.get("usage") or usage
                for choice in chunk["choices"]:
                    first = first or time.perf_counter()
                    token_ids += choice.get("token_ids") or []
        assert first is not None
        figures = self._figures
        figures.first_token_seconds.append(first - start)
        figures.num_prompt_tokens += usage["prompt_tokens"]
        figures.num_cached_tokens += usage["prompt_tokens_details"]["cached_tokens"]
        figures.num_output_tokens += usage["completion_tokens"]
        follow_up = arrival.follow_up(self._now, token_ids)
        if follow_up is not None and follow_up.seconds * self._stretch < self._seconds:
            heapq.heappush(self._due, (follow_up.seconds, next(self._numbers), follow_up))


if __name__ == "__main__":
    main()
