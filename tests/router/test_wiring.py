import asyncio
import dataclasses
import math
import pathlib
from typing import Any

import httpx2
import pytest

from octavo.core.errors import OverloadedError, StartError
from octavo.core.queue_bound import MAX_RETRY_AFTER_SECONDS
from octavo.http.api_keys import ApiKey
from octavo.router.health import NO_REPLICA, NO_SECRET
from octavo.router.routed_request import RequestReader
from octavo.router.wiring import RunningRouter, Say
from tests.over_socket import over_socket
from tests.router import fake_server
from tests.router.fake_server import Received, fake_servers
from tests.router.test_run import options

pytestmark = pytest.mark.asyncio


def wired(
    *urls: str, say: Say = lambda sentence: None, secret: str | None = None, **fields: Any
) -> RunningRouter:
    asked = options(*urls, **fields)
    environment = dataclasses.replace(asked.environment, secret=secret)
    return RunningRouter.of(dataclasses.replace(asked, environment=environment), say)


async def test_an_endpoint_that_is_no_url_is_named() -> None:
    with pytest.raises(StartError, match=r"--endpoints: 'ftp://x' is not a URL"):
        wired("ftp://x")


async def test_an_endpoint_given_twice_is_named() -> None:
    with pytest.raises(StartError, match="There is an endpoint http://a:1 already"):
        wired("http://a:1", "http://a:1")


async def test_nobody_is_told_to_come_back_after_ever() -> None:
    router = wired("http://127.0.0.1:1", health_interval_seconds=math.inf)
    request = RequestReader().read(b'{"model":"m"}', id="id", path="/")
    nobody = router.proxy._router.nobody(request)
    assert isinstance(nobody, OverloadedError) and nobody.retry_after_seconds == MAX_RETRY_AFTER_SECONDS


async def test_the_keys_of_a_file_open_it(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "keys"
    path.write_text(ApiKey.of("secret", "a").line)
    router = wired("http://127.0.0.1:1", api_key_file=path)
    transport = httpx2.ASGITransport(app=router.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://octavo") as client:
        assert (await client.get("/version")).status_code == 401
        assert (await client.get("/version", headers={"api-key": "secret"})).status_code == 200


@pytest.mark.parametrize("origins", [(), ("https://app.example",), ("*",)])
async def test_a_page_reads_what_endpoints_answer_as_the_router_allows(origins: tuple[str, ...]) -> None:
    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        """As one that allows every page."""
        headers = {"access_control_allow_origin": "*", "vary": "x"}
        fake_server.respond(writer, 200, b"{}", **headers)
        await writer.drain()

    async with fake_servers(1) as (server,):
        server.behaviour = behave
        router = wired(server.url, allowed_origins=origins)
        router.start()
        async with (
            over_socket(router.app) as served,
            httpx2.AsyncClient(base_url=served.url, headers={"origin": "https://app.example"}) as client,
        ):
            while not router.endpoints.endpoints[0].is_ready:
                await asyncio.sleep(0.01)
            answers = [await client.post("/v1/completions", json={"model": "tiny"}) for _ in range(2)]
            server.behaviour = fake_server.answer
            answers.append(await client.post("/v1/completions", json={"model": "tiny", "stream": True}))
            answers.append(await client.post("/v1/completions", json={"model": "unknown"}))
            of_others = await client.post(
                "/v1/completions", json={"model": "tiny"}, headers={"origin": "https://evil.example"}
            )
        router.stop()
    assert [answer.status_code for answer in answers] == [200, 200, 200, 404]
    if origins:
        for answer in answers:
            assert answer.headers.get_list("access-control-allow-origin") == list(origins)
            assert "x-octavo-route" in answer.headers["access-control-expose-headers"]
        assert of_others.headers.get("access-control-allow-origin") == ("*" if origins == ("*",) else None)
    else:
        assert not any("access-control-expose-headers" in answer.headers for answer in answers)


async def test_endpoints_come_from_options_and_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text("endpoints: [{url: 'http://b:2', name: bee, models: [m]}]")
    router = wired("http://a:1", endpoints_file=path)
    assert [(one.name, one.url) for one in router.endpoints.endpoints] == [
        ("r0", "http://a:1"),
        ("bee", "http://b:2"),
    ]


async def test_standbys_come_last_with_the_last_models() -> None:
    router = wired("http://a:1", standby_endpoints=("http://b:2",), static_models=("m", "n"))
    assert [(one.url, one.is_standby, *one.cards) for one in router.endpoints.endpoints] == [
        ("http://a:1", False, "m"),
        ("http://b:2", True, "n"),
    ]


async def test_a_file_that_is_wrong_at_the_start_stops_it(tmp_path: pathlib.Path) -> None:
    with pytest.raises(StartError, match=r"--endpoints-file .*missing: No such file"):
        wired(endpoints_file=tmp_path / "missing")
    path = tmp_path / "endpoints.yaml"
    path.write_text("endpoints: [7]")
    with pytest.raises(StartError, match=r"endpoints\[0\] must be a URL"):
        wired(endpoints_file=path)


@pytest.mark.parametrize("compat_metrics", [False, True])
async def test_production_stacks_metrics_are_told_beside_our_own(compat_metrics: bool) -> None:
    router = wired("http://127.0.0.1:1", compat_metrics=compat_metrics)
    transport = httpx2.ASGITransport(app=router.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://octavo") as client:
        text = (await client.get("/metrics")).text
    assert 'octavo:router_endpoint_up{endpoint="r0"} 0.0' in text
    assert 'vllm:healthy_pods_total{server="http://127.0.0.1:1"} 0.0' in text
    assert ("vllm:num_requests_running{" in text) == compat_metrics


@pytest.mark.parametrize(("secret", "why"), [("shared", NO_REPLICA), (None, NO_SECRET)])
async def test_whose_streams_end_with_an_endpoint_and_why_is_said(secret: str | None, why: str) -> None:
    said: list[str] = []
    async with fake_servers(1) as (server,):
        router = wired(server.url, say=said.append, secret=secret)
        router.start()
        async with asyncio.timeout(10):
            while not said:
                await asyncio.sleep(0.01)
        (endpoint,) = router.endpoints.endpoints
        router.stop()
        endpoint.upstream.close()
    assert said == [f"endpoint r0 ({server.url}) is ready; its streams end with it: {why}"]
    assert endpoint.description["streams"] == f"end with it: {why}"
