"""Routers that are processes: one is killed and comes back, two stand side by side. And every replica behind
one is restarted under load."""

import asyncio
import contextlib
import pathlib
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence

import httpx2
import pytest

from tests.e2e.failover.fleet import Fleet, Replica, replicas, routed, sharing_secret
from tests.e2e.failover.streams import Progress, differences, mixed, run
from tools.router_overhead.proxies import free_port

OPTIONS = (
    "--kv-cache-memory",
    "128MiB",
    "--max-model-len",
    "512",
    "--threads",
    "1",
    "--drain-seconds",
    "0.1",
)
pytestmark = [pytest.mark.full, pytest.mark.timeout(600), pytest.mark.asyncio]


@contextlib.contextmanager
def router_process(made: Sequence[Replica], port: int) -> "Iterator[subprocess.Popen[bytes]]":
    code = "import sys; from octavo.cli.main import main; sys.exit(main())"
    urls = [replica.proxy.url for replica in made]
    options = ("--port", str(port), "--policy", "round-robin", "--health-interval-seconds", "0.1")
    with sharing_secret():
        process = subprocess.Popen(
            [sys.executable, "-c", code, "route", *urls, *options], stderr=subprocess.DEVNULL
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def until_ready(url: str) -> None:
    def is_ready() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/debug/endpoints", timeout=5) as response:
                return bytes(response.read()).count(b'"ready":true') == 2
        except OSError:
            return False

    async with asyncio.timeout(60):
        while not await asyncio.to_thread(is_ready):
            await asyncio.sleep(0.1)


def counted(made: Sequence[Replica], pattern: str) -> float:
    """The sum of what the replicas' metrics say, by a pattern of their names."""
    total = 0.0
    for replica in made:
        url = f"{replica.process.url.removesuffix('/v1')}/metrics"
        with urllib.request.urlopen(url, timeout=10) as response:
            found = re.findall(rf"^vllm:{pattern} (\S+)$", response.read().decode(), re.MULTILINE)
        assert found, pattern
        total += sum(map(float, found))
    return total


RUNNING = r"num_requests_(?:running|waiting){.*}"
ABORTED = r'request_success_total{.*finished_reason="abort".*}'


async def test_a_router_that_is_killed_leaves_nothing_and_the_next_one_needs_nothing_of_it(
    smollm2_path: pathlib.Path,
) -> None:
    asked = mixed(1, 48)
    port, second_port = free_port(), free_port()
    url, second_url = (f"http://127.0.0.1:{one}" for one in (port, second_port))
    async with replicas(2, (str(smollm2_path), *OPTIONS)) as made:
        with router_process(made, port) as router, router_process(made, second_port):
            await asyncio.gather(until_ready(url), until_ready(second_url))
            undisturbed = await run(url, asked)
            assert not differences(asked, await run(second_url, asked), undisturbed)
            assert not await asyncio.to_thread(counted, made, ABORTED)  # answers that end are none

            async def kill(progress: Progress) -> None:
                router.send_signal(signal.SIGKILL)

            with pytest.raises(httpx2.HTTPError):
                await run(url, asked, kill)
            assert router.wait() == -signal.SIGKILL
            async with asyncio.timeout(5):
                while await asyncio.to_thread(counted, made, RUNNING):
                    await asyncio.sleep(0.1)
            assert await asyncio.to_thread(counted, made, ABORTED)  # they did not just come to their ends
            assert not differences(asked, await run(second_url, asked), undisturbed)
        with router_process(made, port):
            await until_ready(url)
            assert not differences(asked, await run(url, asked), undisturbed)


async def restart(fleet: Fleet, replica: Replica) -> None:
    """Drain it, start another one in its place, and wait until all are ready."""
    replica.signal(signal.SIGTERM)
    assert await asyncio.to_thread(replica.process.process.wait) == 0
    await replica.heal()
    async with asyncio.timeout(60):
        while not all(endpoint.is_ready for endpoint in fleet.router.endpoints.endpoints):
            await asyncio.sleep(0.05)


async def test_every_replica_is_restarted_under_load_and_nobody_notices(smollm2_path: pathlib.Path) -> None:
    """One after the other, each as soon as one of its streams has begun: so there is one that has to move."""
    asked = mixed(1, 64)
    async with (
        replicas(2, (str(smollm2_path), *OPTIONS)) as made,
        routed(made, inter_token_seconds=60.0) as fleet,
    ):
        undisturbed = await run(fleet.url, asked)
        assert await fleet.failovers() == {}
        for number, replica in enumerate(made):
            num_moved = (await fleet.failovers()).get("draining", 0.0)
            restarts: list[asyncio.Task[None]] = []

            async def strike(
                progress: Progress,
                name: str = f"endpoint=r{number}",
                replica: Replica = replica,
                restarts: list[asyncio.Task[None]] = restarts,
            ) -> None:
                streams = zip(progress.endpoints, progress.answers, strict=True)
                if not restarts and any(endpoint == name and answer.texts for endpoint, answer in streams):
                    restarts.append(asyncio.create_task(restart(fleet, replica)))

            with sharing_secret():
                while not restarts or not restarts[0].done():
                    assert not differences(asked, await run(fleet.url, asked, strike), undisturbed)
                await restarts[0]
            assert (await fleet.failovers())["draining"] > num_moved  # it has been felt
