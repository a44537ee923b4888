import asyncio
import os
import pathlib
from typing import Any

import pytest

from octavo.core.errors import StartError
from octavo.router.discovery import MAX_FILE_BYTES, DnsWatch, FileWatch, parse_endpoints
from octavo.router.endpoints import EndpointSet
from octavo.router.membership import EndpointSpec, Membership

pytestmark = pytest.mark.asyncio


async def test_a_file_lists_urls_and_mappings() -> None:
    text = "endpoints:\n- http://a:1\n- {url: 'http://b:2', name: bee, models: [m, n], standby: true}\n"
    named = EndpointSpec("http://b:2", "bee", ("m", "n"), is_standby=True)
    assert parse_endpoints(text) == [EndpointSpec("http://a:1"), named]
    assert parse_endpoints("endpoints: []") == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    (
        ("endpoints: [", "not YAML in line 1"),
        ("\0", "not YAML"),
        ("", "one field, endpoints"),
        ("[1]", "one field, endpoints"),
        ("endpoints: []\nmore: 1", "one field, endpoints"),
        ("endpoints: http://a:1", "must be a list"),
        ("endpoints: [http://a:1, 7]", r"endpoints\[1\] must be a URL"),
        ("endpoints: [{name: a}]", r"endpoints\[0\] must be a URL, or have a field url"),
        ("endpoints: [{url: 'http://a:1', weight: 2}]", r"endpoints\[0\] has the field 'weight'; allowed"),
        ("endpoints: [{url: 'http://a:1', name: ''}]", r"endpoints\[0\].name must be"),
        ("endpoints: [{url: 'http://a:1', models: m}]", r"endpoints\[0\].models must be"),
        ("endpoints: [{url: 'http://a:1', standby: 1}]", r"endpoints\[0\].standby must be"),
        ("[" * 100_000, "not YAML"),
        ("endpoints: [2026-13-45]", "a value that YAML cannot read: month must be in 1..12"),
        ("endpoints: [!!int '']", "a value that YAML cannot read"),
        ("endpoints: [!!bool x]", "a value that YAML cannot read"),
        ("endpoints: [!!timestamp x]", "a value that YAML cannot read"),
    ),
)
async def test_a_mistake_is_named(text: str, sentence: str) -> None:
    with pytest.raises(StartError, match=sentence):
        parse_endpoints(text)


def write(path: pathlib.Path, text: str) -> None:
    """As editors do."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


async def test_a_file_is_followed_and_a_bad_edit_changes_nothing(tmp_path: pathlib.Path) -> None:
    path, endpoints, errors = tmp_path / "endpoints.yaml", EndpointSet([]), []
    write(path, "endpoints: ['http://a:1']")
    watch = FileWatch(path, Membership(endpoints), interval_seconds=0.01, on_error=errors.append)
    watch.load()
    watching = asyncio.create_task(watch.run())

    async def until(*urls: str, num_errors: int) -> None:
        async with asyncio.timeout(5):
            while [one.url for one in endpoints.endpoints] != list(urls) or len(errors) != num_errors:
                await asyncio.sleep(0.005)

    await until("http://a:1", num_errors=0)
    await asyncio.sleep(0.05)
    write(path, "endpoints: ['http://a:1', 'http://b:2']")
    await until("http://a:1", "http://b:2", num_errors=0)
    write(path, "endpoints: nonsense")
    await until("http://a:1", "http://b:2", num_errors=1)
    path.unlink()
    await until("http://a:1", "http://b:2", num_errors=2)
    write(path, "endpoints: ['http://b:2']" + " " * MAX_FILE_BYTES)
    await until("http://a:1", "http://b:2", num_errors=3)
    write(path, "endpoints: ['http://b:2']")
    await until("http://b:2", num_errors=3)
    watching.cancel()
    assert "endpoints must be a list. The endpoints it had before stay." in errors[0]


async def test_what_changes_before_it_is_followed_is_not_missed(tmp_path: pathlib.Path) -> None:
    path, endpoints = tmp_path / "endpoints.yaml", EndpointSet([])
    write(path, "endpoints: ['http://a:1']")
    watch = FileWatch(path, Membership(endpoints), interval_seconds=0.01)
    watch.load()
    write(path, "endpoints: ['http://a:1', 'http://b:2']")
    watching = asyncio.create_task(watch.run())
    async with asyncio.timeout(5):
        while [one.url for one in endpoints.endpoints] != ["http://a:1", "http://b:2"]:
            await asyncio.sleep(0.005)
    watching.cancel()


async def test_a_name_becomes_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints, errors = EndpointSet([]), []
    watch = DnsWatch("dns://replicas.local:8000", Membership(endpoints), on_error=errors.append)
    answers: list[Any] = [["10.0.0.2", "10.0.0.1"], ["10.0.0.2", "fd00::1"], OSError(1, "no such name")]

    async def getaddrinfo(host: str, port: int, **options: Any) -> list[Any]:
        assert (host, port) == ("replicas.local", 8000)
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return [(None, None, None, "", (address, port)) for address in answer]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    await watch.look()
    assert [one.url for one in endpoints.endpoints] == ["http://10.0.0.1:8000", "http://10.0.0.2:8000"]
    await watch.look()
    async with asyncio.timeout(5):
        while [one.url for one in endpoints.endpoints] != ["http://10.0.0.2:8000", "http://[fd00::1]:8000"]:
            await asyncio.sleep(0.005)
    answers.append(OSError(1, "no such name"))
    await watch.look()
    await watch.look()
    assert len(endpoints.endpoints) == 2 and errors == [
        "dns://replicas.local:8000: no such name; its endpoints stay as they were"
    ]


@pytest.mark.parametrize(
    "url",
    (
        "dns://",
        "dns://name",
        "dns://name:x",
        "dns://name:99999",
        "dns://name:0",
        "dns://name:1/path",
        "dns://[::1",
        "dns://a..b:1",
        "dns://" + "a" * 64 + ":1",
    ),
)
async def test_a_name_needs_a_port(url: str) -> None:
    with pytest.raises(StartError, match="allowed: dns://NAME:PORT"):
        DnsWatch(url, Membership(EndpointSet([])))
