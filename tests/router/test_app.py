"""What the router answers itself."""

import json

import pytest

from tests.router.fake_server import fake_servers
from tests.router.routed import routed

pytestmark = pytest.mark.asyncio


async def test_models_of_all_endpoints_are_one_list() -> None:
    async with fake_servers(1, ("a", "b")) as (one,), fake_servers(1, ("b", "c")) as (two,):
        urls = [one.url, two.url]
        async with routed(urls, aliases={"nick": {"c": 1}}) as router:
            cards = (await router.client.get("/v1/models")).json()["data"]
            assert [card["id"] for card in cards] == ["a", "b", "c", "nick"]
            assert (await router.client.get("/v1/models/nick")).json()["root"] == "c"
            missing = await router.client.get("/v1/models/none")
            assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
            for model, server in (("a", one), ("c", two), ("nick", two)):
                server.received.clear()
                assert (await router.ask(model=model)).status_code == 200
                assert len(server.received) == 1


async def test_ready_means_somebody_is() -> None:
    async with fake_servers(2) as servers, routed([s.url for s in servers]) as router:
        servers[0].is_ready = False
        await router.look()
        assert (await router.client.get("/readyz")).status_code == 200
        servers[1].is_ready = False
        await router.look()
        assert (await router.client.get("/readyz")).json()["reason"] == "No endpoint is ready."
        refused = await router.ask()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "3")
        assert (await router.client.get("/livez")).status_code == 200
        table = (await router.client.get("/debug/endpoints")).json()
        assert [(row["name"], row["ready"], row["breaker"]) for row in table] == [
            ("r0", False, "closed"), ("r1", False, "closed"),
        ]  # fmt: skip


async def test_metrics_and_version_and_what_is_not_there() -> None:
    async with fake_servers(1) as (server,), routed([server.url]) as router:
        await router.ask()
        text = (await router.client.get("/metrics")).text
        assert 'octavo:router_decisions_total{endpoint="r0",policy="round-robin"} 1.0' in text
        assert 'octavo:router_endpoint_up{endpoint="r0"} 1.0' in text
        assert "octavo:router_overhead_seconds_count 1.0" in text
        assert (await router.client.get("/version")).json()["version"]
        missing = await router.client.get("/debug/route/none")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
        assert "No request with the id 'none'" in missing.json()["error"]["message"]
        assert (await router.client.get("/v1/completions")).status_code == 405
        nothing = await router.client.get("/static/x")
        assert nothing.json()["error"]["message"] == (
            "There is nothing at '/static/x'; GET / says what there is."
        )
        near = await router.client.post("/chat/completions")
        assert "the nearest path is /v1/chat/completions." in near.json()["error"]["message"]


@pytest.mark.parametrize("path", ("/", "/docs", "/v1"))
async def test_who_opens_it_in_a_browser_sees_what_stands_behind_it(path: str) -> None:
    async with fake_servers(1) as (server,), routed([server.url]) as router:
        page = await router.client.get(path, follow_redirects=True)
    assert (page.status_code, page.url.path) == (200, "/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert server.url in page.text and "1 of 1 endpoint ready" in page.text


async def test_the_key_is_asked_for_and_passed_on() -> None:
    async with fake_servers(1) as (server,), routed([server.url], api_key="k") as router:
        assert (await router.ask()).status_code == 401
        for header, key in (("authorization", "Bearer k"), ("api-key", "k"), ("x-api-key", "k")):
            answer = await router.client.post("/v1/messages", json={"model": "tiny"}, headers={header: key})
            assert (answer.status_code, server.received[-1].headers[header]) == (200, key)
        assert len(server.received) == 3


async def test_azures_spelling_reaches_endpoints_that_know_openais() -> None:
    async with (
        fake_servers(1, ("a",)) as (server,),
        routed([server.url], aliases={"nick": {"a": 1}}) as router,
    ):
        body = {"messages": [{"role": "user", "content": "hi"}]}
        for name in ("a", "nick"):
            path = f"/openai/deployments/{name}/chat/completions?api-version=2024-10-21"
            assert (await router.client.post(path, json=body)).status_code == 200
        answer = await router.client.post("/openai/v1/completions", json={"model": "a", "prompt": "hi"})
        assert answer.status_code == 200
        missing = await router.client.post("/openai/deployments/b/completions", json={"prompt": "hi"})
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
        for path in ("/openai/v1/models", "/openai/models"):
            assert (await router.client.get(path)).json() == (await router.client.get("/v1/models")).json()
    assert [request.path for request in server.received] == [
        *("/v1/chat/completions", "/v1/chat/completions", "/v1/completions"),
    ]
    assert [json.loads(request.body)["model"] for request in server.received] == ["a", "a", "a"]
