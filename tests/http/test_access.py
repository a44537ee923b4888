"""Who may come in: names the server goes by, and pages that may read its answers."""

from typing import Any

import httpx2
import pytest

from octavo.core.errors import OctavoError
from octavo.http.access import Access
from octavo.http.key_ring import KeyRing
from tests.fakes import FakeEngine, fake_replica


def check(access: Access, *hosts: str, path: str = "/v1/models", http_version: str = "1.1") -> bool:
    """Whether a request with these Host headers passes."""
    raw = [(b"host", host.encode()) for host in hosts]
    scope: dict[str, Any] = {"type": "http", "path": path, "http_version": http_version, "headers": raw}
    try:
        access.check_host(scope)
    except OctavoError:
        return False
    return True


ANY = Access(KeyRing())
SOME = Access(KeyRing(), allowed_hosts=("llm.example.com", "*.Internal", "[::1]"))


@pytest.mark.parametrize(
    "host", ("localhost", "localhost:8000", "127.0.0.1", "[::1]:8000", "my_service", "a.b-c.d", "x" * 255)
)
def test_a_host_is_a_name_or_an_address(host: str) -> None:
    assert check(ANY, host)


@pytest.mark.parametrize(
    "host",
    (
        "",
        "localhost/v1/models?",
        "a b",
        "a@b",
        "a:b",
        "a:123456",
        "::1",
        "[::1",
        "a\\b",
        "a?b",
        "é",
        "x" * 256,
    ),
)
def test_nothing_else_is_one(host: str) -> None:
    assert not check(ANY, host)


def test_there_is_one_host() -> None:
    assert not check(ANY)
    assert not check(ANY, "a", "a")
    assert check(ANY, http_version="1.0")


@pytest.mark.parametrize(
    ("host", "passes"),
    (
        ("llm.example.com", True),
        ("LLM.example.com:8000", True),
        ("a.internal", True),
        ("a.b.internal", True),
        ("[::1]:80", True),
        ("internal", False),
        ("evilinternal", False),
        ("example.com", False),
        ("llm.example.com.evil.org", False),
        ("127.0.0.1", False),
    ),
)
def test_only_the_names_of_the_server_pass(host: str, passes: bool) -> None:
    assert check(SOME, host) is passes


def test_a_probe_knows_no_name() -> None:
    assert check(SOME, "10.1.2.3:8000", path="/livez")
    assert not check(SOME, http_version="1.0")


async def ask(method: str, origin: str, origins: tuple[str, ...], **headers: str) -> httpx2.Response:
    replica = fake_replica(FakeEngine(), api_key="secret", access={"allowed_origins": origins})
    transport = httpx2.ASGITransport(app=replica.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://octavo") as client:
        return await client.request(method, "/v1/models", headers={"origin": origin, **headers})


PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}


@pytest.mark.asyncio
async def test_no_page_may_read_answers_unless_it_is_allowed() -> None:
    for origins in ((), ("https://app.example.com",)):
        answer = await ask("GET", "https://evil.org", origins, authorization="Bearer secret")
        assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (200, False)
    assert (await ask("OPTIONS", "https://evil.org", (), **PREFLIGHT)).status_code == 401
    assert (await ask("OPTIONS", "https://evil.org", ("https://a.b",), **PREFLIGHT)).status_code == 400


@pytest.mark.asyncio
@pytest.mark.parametrize("allowed", ("https://app.example.com", "*"))
async def test_an_allowed_page_may_ask_and_read_refusals_too(allowed: str) -> None:
    page = "https://app.example.com"
    asked = await ask("OPTIONS", page, (allowed,), **PREFLIGHT)
    assert asked.status_code == 200
    assert "authorization" in asked.headers["access-control-allow-headers"].lower()
    refused = await ask("GET", page, (allowed,))
    assert refused.status_code == 401
    for answer in (asked, refused):
        assert answer.headers["access-control-allow-origin"] == allowed
        assert "access-control-allow-credentials" not in answer.headers
    assert "x-request-id" in refused.headers["access-control-expose-headers"]
