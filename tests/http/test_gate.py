"""Identity, key and log line of every request, whatever it asks for."""

import asyncio
import io
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from octavo.core.request import FinishReason
from octavo.http.access import OPEN_PATHS, Access
from octavo.http.api_keys import ApiKey, KeyLimits
from octavo.http.gate import MAX_HEAD_BYTES, MAX_HEADERS, MAX_URL_BYTES, Gate
from octavo.http.key_ring import KeyRing
from octavo.http.request_log import RequestLog
from octavo.router.app import Shortcut
from tests.fakes import FakeEngine, FakeReplica, fake_replica, send
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
@pytest.mark.parametrize("path", ("/v1/models", "/metrics", "/nothing", "//livez", "/livez/"))
async def test_without_the_key_nothing_is_answered(path: str, authorization: str | None) -> None:
    replica = fake_replica(FakeEngine(), api_key="secret")
    headers = {} if authorization is None else {"authorization": authorization.encode("latin-1")}
    response = await get(replica, path, **headers)  # type: ignore[arg-type]
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    error = response.json()["error"]
    assert error["code"] == "invalid_api_key"
    assert ("needs an API key" if authorization is None else "is not known here") in error["message"]


@pytest.mark.parametrize("authorization", ("Bearer secret", "bearer secret"))
async def test_with_the_key_all_is_answered(authorization: str) -> None:
    replica = fake_replica(FakeEngine(), api_key="secret")
    assert (await get(replica, "/v1/models", authorization=authorization)).status_code == 200


@pytest.mark.parametrize("header", ("api_key", "x_api_key"))
@pytest.mark.parametrize(("key", "status"), (("secret", 200), (" secret ", 200), ("wrong", 401), ("", 401)))
async def test_azures_and_anthropics_headers_carry_the_key_too(header: str, key: str, status: int) -> None:
    replica = fake_replica(FakeEngine(), api_key="secret")
    response = await get(replica, "/v1/models", **{header: key})
    assert response.status_code == status
    assert status == 200 or "that was sent is not known here" in response.json()["error"]["message"]


async def test_a_wrong_bearer_is_not_saved_by_the_other_header() -> None:
    replica = fake_replica(FakeEngine(), api_key="secret")
    response = await get(replica, "/v1/models", authorization="Bearer wrong", api_key="secret")
    assert response.status_code == 401


def routes(gate: ASGIApp) -> Iterator[tuple[str, str]]:
    """(method, path) of all there is behind a gate. A kind of route this does not know fails the test."""
    assert isinstance(gate, Gate)
    app = gate.app.others if isinstance(gate.app, Shortcut) else gate.app
    assert isinstance(app, Starlette)
    for route in app.routes:
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
    await get(replica, "/version", authorization="Bearer a-long-secret")
    await get(replica, "/version", authorization="Bearer a-wrong-secret")
    known, unknown = map(json.loads, replica.log.getvalue().splitlines())
    assert (known["key_id"], "key_id" in unknown) == ("default", False)
    assert "secret" not in replica.log.getvalue()


@pytest.mark.parametrize("path", ("/livez", "/readyz", "/health"))
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


def key_ring(path: pathlib.Path, **limits_of: KeyLimits) -> KeyRing:
    """The key of each name is secret-NAME."""
    path.write_text(
        "".join(f"{ApiKey.of(f'secret-{n}', n, limits).line}\n" for n, limits in limits_of.items())
    )
    return KeyRing.of(None, path)


async def ask(client: httpx2.AsyncClient, name: str, path: str = "/v1/completions") -> httpx2.Response:
    return await client.post(path, json=BODY, headers={"api-key": f"secret-{name}"})


async def test_a_key_over_its_limit_is_told_when_to_come_back_and_others_are_served(
    tmp_path: pathlib.Path,
) -> None:
    ring = key_ring(tmp_path / "keys", a=KeyLimits(requests_per_minute=2), b=KeyLimits())
    replica = fake_replica(FakeEngine(), key_ring=ring)
    async with asgi_client(replica) as client:
        answers = [await ask(client, "a") for _ in range(3)]
        others = [await ask(client, "b") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
    refused = answers[2]
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert refused.headers["x-should-retry"] == "true"
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert [answer.status_code for answer in others] == [200] * 3
    assert not any(name.startswith("x-ratelimit") for name in others[0].headers)
    entries = [json.loads(line) for line in replica.log.getvalue().splitlines()]
    assert [(entry["key_id"], entry["status"]) for entry in entries[2:4]] == [("a", 429), ("b", 200)]


async def test_looking_costs_nothing(tmp_path: pathlib.Path) -> None:
    replica = fake_replica(
        FakeEngine(), key_ring=key_ring(tmp_path / "keys", a=KeyLimits(requests_per_minute=1))
    )
    async with asgi_client(replica) as client:
        for _ in range(3):
            looked = await client.get("/v1/models", headers={"api-key": "secret-a"})
            assert looked.headers["x-ratelimit-remaining-requests"] == "1"
        assert (await ask(client, "a")).status_code == 200


async def test_tokens_of_answers_are_counted(tmp_path: pathlib.Path) -> None:
    ring = key_ring(tmp_path / "keys", a=KeyLimits(tokens_per_minute=600))
    replica = fake_replica(FakeEngine(b"Hello"), key_ring=ring)
    async with asgi_client(replica) as client:
        await ask(client, "a")
        looked = await client.get("/version", headers={"api-key": "secret-a"})
    assert looked.headers["x-ratelimit-remaining-tokens"] == str(600 - len("hi") - len("Hello"))


async def test_a_place_is_free_when_its_request_has_ended(tmp_path: pathlib.Path) -> None:
    engine = FakeEngine(None)
    replica = fake_replica(engine, key_ring=key_ring(tmp_path / "keys", a=KeyLimits(concurrency=1)))
    async with asgi_client(replica) as client:
        running = asyncio.create_task(ask(client, "a"))
        await engine.arrived.wait()
        assert (await ask(client, "a")).status_code == 429
        assert (await ask(client, "a", "/nothing")).status_code == 429
        send(engine.streams[0], b"x", FinishReason.STOP)
        assert (await running).status_code == 200
        assert (await ask(client, "a", "/nothing")).status_code == 404
        engine.answer = b"x"
        assert (await ask(client, "a")).status_code == 200


async def test_of_what_a_router_counts_too_its_client_hears_the_routers_count(tmp_path: pathlib.Path) -> None:
    async def upstream(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"x-ratelimit-remaining-" + name, b"5") for name in (b"requests", b"tokens")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    ring = key_ring(tmp_path / "keys", a=KeyLimits(requests_per_minute=100, tokens_per_minute=600))
    log = RequestLog(is_json=True, is_coloured=False, output=io.StringIO())
    gate = Gate(upstream, Access(ring), log, counts_tokens=False)
    transport = httpx2.ASGITransport(app=gate)
    async with httpx2.AsyncClient(transport=transport, base_url="http://octavo") as client:
        answer = await ask(client, "a")
    assert answer.headers.get_list("x-ratelimit-remaining-requests") == ["99"]
    assert answer.headers.get_list("x-ratelimit-remaining-tokens") == ["5"]
