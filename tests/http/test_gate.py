"""Identity, key and log line of every request, whatever it asks for."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from octavo.http.gate import MAX_HEAD_BYTES, MAX_HEADERS, MAX_URL_BYTES, OPEN_PATHS, Gate
from tests.fakes import FakeEngine, FakeReplica, fake_replica
from tests.router.routed import Routed
from tests.server.serving import asgi_client

pytestmark = pytest.mark.asyncio

BODY = {"model": "tiny", "prompt": "hi"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


async def get(replica: FakeReplica, path: str, method: str = "GET", **headers: str) -> Any:
    async with asgi_client(replica) as client:
        return await client.request(
            method, path, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )


@pytest.mark.parametrize("path", ("/livez", "/v1/models", "/nothing", "/v1/chat/completions"))
async def test_every_answer_has_an_id(path: str) -> None:
    response = await get(fake_replica(FakeEngine()), path)
    assert len(response.headers["x-request-id"]) == 32


async def test_a_plain_id_of_the_client_is_kept() -> None:
    response = await get(fake_replica(FakeEngine()), "/livez", x_request_id="job-7:a.b_c")
    assert response.headers["x-request-id"] == "job-7:a.b_c"


@pytest.mark.parametrize("given", ("a b", "x" * 129, "a\tb", 'a"', "é"))
async def test_an_odd_id_of_the_client_is_replaced(given: str) -> None:
    response = await get(fake_replica(FakeEngine()), "/livez", x_request_id=given.encode("latin-1"))  # type: ignore[arg-type]
    assert len(response.headers["x-request-id"]) == 32


async def test_the_same_id_twice_makes_two_requests_of_the_engine() -> None:
    replica = fake_replica(FakeEngine())
    async with asgi_client(replica) as client:
        for _ in range(2):
            response = await client.post("/v1/completions", json=BODY, headers={"x-request-id": "same"})
            assert response.status_code == 200
    assert len({submission.request_id for submission in replica.engine.submitted}) == 2


@pytest.mark.parametrize(
    "authorization",
    (
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic secret",
        "secret",
        "Bearer sécret",
        "Bearer " + "x" * 10_000,
    ),
)
@pytest.mark.parametrize("path", ("/v1/models", "/health", "/nothing", "//livez", "/livez/"))
async def test_without_the_key_nothing_is_answered(path: str, authorization: str | None) -> None:
    replica = fake_replica(FakeEngine(), api_key="secret")
    headers = {} if authorization is None else {"authorization": authorization.encode("latin-1")}
    response = await get(replica, path, **headers)  # type: ignore[arg-type]
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("authorization", ("Bearer secret", "bearer secret"))
async def test_with_the_key_all_is_answered(authorization: str) -> None:
    replica = fake_replica(FakeEngine(), api_key="secret")
    assert (await get(replica, "/v1/models", authorization=authorization)).status_code == 200


@pytest.mark.parametrize(("key", "status"), (("secret", 200), (" secret ", 200), ("wrong", 401), ("", 401)))
async def test_azures_header_carries_the_key_too(key: str, status: int) -> None:
    replica = fake_replica(FakeEngine(), api_key="secret")
    assert (await get(replica, "/v1/models", api_key=key)).status_code == status


async def test_a_wrong_bearer_is_not_saved_by_the_other_header() -> None:
    replica = fake_replica(FakeEngine(), api_key="secret")
    response = await get(replica, "/v1/models", authorization="Bearer wrong", api_key="secret")
    assert response.status_code == 401


def routes(gate: ASGIApp) -> Iterator[tuple[str, str]]:
    """(method, path) of all there is behind a gate. A kind of route this does not know fails the test."""
    assert isinstance(gate, Gate) and isinstance(gate.app, Starlette)
    for route in gate.app.routes:
        assert isinstance(route, Route)
        path = re.sub(r"\{(\w+)(:\w+)?\}", "x", route.path)
        yield from ((method, path) for method in route.methods or ())


async def test_every_route_of_server_and_router_asks_for_the_key() -> None:
    router = Routed(["http://127.0.0.1:1"], api_key="secret")
    apps = (fake_replica(FakeEngine(), api_key="secret").app, router.app)
    for app, minimum in zip(apps, (20, 15), strict=True):
        found = set(routes(app))
        assert len(found) > minimum
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://octavo") as client:
            for path in {path for _, path in found} - OPEN_PATHS:
                for method in METHODS:
                    response = await client.request(method, path)
                    assert response.status_code == 401, (method, path)
                    assert not response.content or response.json()["error"]["code"] == "invalid_api_key"


async def test_the_log_names_whose_key_it_was_and_never_the_key() -> None:
    replica = fake_replica(FakeEngine(), api_key="a-long-secret")
    await get(replica, "/v1/models", authorization="Bearer a-long-secret")
    await get(replica, "/v1/models", authorization="Bearer a-wrong-secret")
    known, unknown = map(json.loads, replica.log.getvalue().splitlines())
    assert (known["key_id"], "key_id" in unknown) == ("default", False)
    assert "secret" not in replica.log.getvalue()


@pytest.mark.parametrize("path", ("/livez", "/readyz"))
async def test_probes_need_no_key(path: str) -> None:
    replica = fake_replica(FakeEngine(), api_key="secret")
    await replica.readiness.record()
    assert (await get(replica, path)).status_code == 200


async def test_a_request_is_logged_once_at_its_end() -> None:
    replica = fake_replica(FakeEngine(b"Hello"))
    async with asgi_client(replica) as client:
        await client.post("/v1/completions", json=BODY, headers={"x-request-id": "me"})
    (line,) = replica.log.getvalue().splitlines()
    entry = json.loads(line)
    assert {name: entry[name] for name in ("id", "method", "path", "status", "finish_reason")} == {
        "id": "me",
        "method": "POST",
        "path": "/v1/completions",
        "status": 200,
        "finish_reason": "stop",
    }
    assert (entry["prompt_tokens"], entry["cached_tokens"], entry["output_tokens"]) == (2, 2, 5)
    assert (entry["queue_ms"], entry["prefill_ms"]) == (250.0, 500.0)
    assert 0 <= entry["ttft_ms"] <= entry["total_ms"]


async def test_polling_is_logged_only_when_it_fails() -> None:
    replica = fake_replica(FakeEngine())
    await replica.readiness.record()
    await get(replica, "/readyz")
    assert replica.log.getvalue() == ""
    replica.engine.is_ready = False
    await get(replica, "/readyz")
    assert json.loads(replica.log.getvalue())["status"] == 503


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    (
        ("/livez?" + "a" * MAX_URL_BYTES, {}, 414, "url_too_long"),
        ("/" + "%61" * MAX_URL_BYTES, {}, 414, "url_too_long"),
        ("/livez", {f"x-{index}": "a" for index in range(MAX_HEADERS)}, 431, "headers_too_large"),
        ("/livez", {"x": "a" * MAX_HEAD_BYTES}, 431, "headers_too_large"),
        ("/livez", {"connection": "upgrade", "upgrade": "h2c"}, 400, "upgrade_not_supported"),
    ),
)
async def test_a_head_beyond_its_limits_is_refused(
    path: str, headers: dict[str, str], status: int, code: str
) -> None:
    replica = fake_replica(FakeEngine())
    response = await get(replica, path, **headers)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert json.loads(replica.log.getvalue())["id"] == response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "headers"),
    (
        ("/livez?" + "a" * (MAX_URL_BYTES - 100), {}),
        ("/livez", {f"x-{index}": "a" for index in range(MAX_HEADERS - 10)}),
        ("/livez", {"x": "a" * (MAX_HEAD_BYTES - 1000)}),
    ),
)
async def test_a_head_within_its_limits_is_served(path: str, headers: dict[str, str]) -> None:
    assert (await get(fake_replica(FakeEngine()), path, **headers)).status_code == 200
