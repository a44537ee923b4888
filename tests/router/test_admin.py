import asyncio
import io
from typing import Any

import httpx2
import pytest

from octavo.http.access import Access
from octavo.http.key_ring import KeyRing
from octavo.http.request_log import RequestLog
from octavo.router.admin import build_admin
from octavo.router.endpoints import EndpointSet
from octavo.router.load import Reservation
from octavo.router.membership import EndpointSpec, Membership

pytestmark = pytest.mark.asyncio

KEY = {"authorization": "Bearer operator"}


class Operator:
    def __init__(self) -> None:
        self.set = EndpointSet([])
        self.membership = Membership(self.set)
        log = RequestLog(is_json=True, is_coloured=False, output=io.StringIO())
        app = build_admin(self.set, self.membership, Access(KeyRing("operator")), log)
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://octavo")

    async def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        return await self.client.request(method, path, **{"headers": KEY, **options})


async def test_everything_asks_for_the_key() -> None:
    operator = Operator()
    operator.membership.add(EndpointSpec("http://a:1", "a"), "options")
    for method, path in (
        ("GET", "/endpoints"), ("POST", "/endpoints"), ("DELETE", "/endpoints/a"),
        ("POST", "/endpoints/a/drain"), ("POST", "/endpoints/a/resume"),
    ):  # fmt: skip
        assert (await operator.ask(method, path, headers={})).status_code == 401
    assert len(operator.set.endpoints) == 1 and not operator.set.endpoints[0].is_draining


async def test_endpoints_are_added_drained_resumed_and_removed() -> None:
    operator = Operator()
    body = {"url": "http://a:1", "name": "bee", "models": ["m"]}
    added = await operator.ask("POST", "/endpoints", json=body)
    assert (added.status_code, added.json()["name"], added.json()["models"]) == (201, "bee", ["m"])
    assert [one["url"] for one in (await operator.ask("GET", "/endpoints")).json()] == ["http://a:1"]
    assert (await operator.ask("POST", "/endpoints/bee/drain")).json()["draining"] is True
    assert (await operator.ask("POST", "/endpoints/bee/resume")).json()["draining"] is False
    work = Reservation(operator.set.endpoints[0].load, 1)
    assert (await operator.ask("DELETE", "/endpoints/bee")).status_code == 202
    assert (await operator.ask("POST", "/endpoints/bee/resume")).status_code == 400
    work.end()
    async with asyncio.timeout(5):
        while operator.set.endpoints:
            await asyncio.sleep(0.01)
    missing = await operator.ask("DELETE", "/endpoints/bee")
    assert missing.status_code == 404 and "There is no endpoint 'bee'; there are: " in missing.text


@pytest.mark.parametrize(
    ("body", "sentence"),
    (
        ({}, "url"),
        ({"url": "nonsense"}, "is not a URL"),
        ({"url": "http://a:1", "weight": 3}, "weight"),
        ({"url": "http://a:1", "name": "no space"}, "name"),
        ({"url": "http://taken:1"}, "already"),
    ),
)
async def test_a_bad_endpoint_is_refused_by_name(body: dict[str, Any], sentence: str) -> None:
    operator = Operator()
    operator.membership.add(EndpointSpec("http://taken:1"), "options")
    answer = await operator.ask("POST", "/endpoints", json=body)
    assert answer.status_code == 400 and sentence in answer.json()["error"]["message"]
    assert len(operator.set.endpoints) == 1


@pytest.mark.parametrize("body", [b"", b'{"url":"\xff"}', b'{"url":'])
async def test_an_endpoint_that_is_no_json_is_refused(body: bytes) -> None:
    headers = {**KEY, "content-type": "application/json"}
    answer = await Operator().ask("POST", "/endpoints", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")
