"""A canary among real processes: an alias of two models, each with its share of users and its own policy."""

import asyncio
import contextlib
import itertools
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Mapping

import httpx2
import pytest

from tests.e2e.matrix.models import write_tiny
from tests.e2e.test_up import Up
from tools.router_overhead.proxies import free_port

pytestmark = pytest.mark.full

NUM_USERS = 300
VALUES = """models:
- {{name: {old}, servedName: old, kvCacheMemory: 16MiB}}
- {{name: {new}, servedName: new, kvCacheMemory: 16MiB, policy: least-load}}
router: {{aliases: {{chat: {{old: 80, new: 20}}}}}}
"""


@pytest.fixture
def up(tmp_path: pathlib.Path) -> Iterator[Up]:
    file = tmp_path / "values.yaml"
    models = {"old": write_tiny("llama", tmp_path / "old"), "new": write_tiny("qwen3", tmp_path / "new")}
    file.write_text(VALUES.format(**models))
    up = Up(tmp_path, str(file))
    yield up
    up.end()


POLICIES = {"old": "cost", "new": "least-load"}


async def sides(url: str, policies: Mapping[str, str]) -> list[str]:
    """Which model answered each user. policies: by which a replica of each was chosen."""
    async with httpx2.AsyncClient(base_url=url, timeout=120) as client:
        turns = asyncio.Semaphore(16)

        async def ask(number: int) -> str:
            body = {"model": "chat", "prompt": "Hi", "max_tokens": 2, "user": f"user {number}"}
            async with turns:
                response = await client.post("/v1/completions", json=body)
            assert response.status_code == 200, response.text
            model = str(response.json()["model"])
            assert f"; policy={policies[model]};" in response.headers["x-octavo-route"]
            return model

        return await asyncio.gather(*map(ask, range(NUM_USERS)))


@contextlib.contextmanager
def second_router(replicas: list[str], shares: str) -> Iterator[str]:
    """Another one in front of the same replicas, by its URL."""
    code = "import sys; from octavo.cli.main import main; sys.exit(main())"
    port = free_port()
    command = [
        sys.executable,
        "-c",
        code,
        "route",
        *replicas,
        "--port",
        str(port),
        "--static-aliases",
        shares,
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        with process.stderr as lines:
            ready = (line for line in lines if " is ready" in line)
            assert len(list(itertools.islice(ready, len(replicas)))) == len(replicas)
            yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def test_each_user_stays_on_a_side_and_as_the_new_model_gets_more_nobody_goes_back(up: Up) -> None:
    url = up.until(r"^ready in .*: (http://\S+)/v1$")[1]
    first = asyncio.run(sides(url, POLICIES))
    assert set(first) == {"old", "new"}
    assert 0.14 < first.count("new") / NUM_USERS < 0.26  # the draw is a hash: it is the same on every machine
    assert asyncio.run(sides(url, POLICIES)) == first
    replicas = [row["url"] for row in httpx2.get(f"{url}/debug/endpoints").json()]
    with second_router(replicas, "chat:old=50,chat:new=50") as second:
        later = asyncio.run(sides(second, dict.fromkeys(POLICIES, "cost")))
    assert 0.42 < later.count("new") / NUM_USERS < 0.58
    assert all(after == "new" for before, after in zip(first, later, strict=True) if before == "new")
