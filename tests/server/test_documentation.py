"""The page and the document are served, ask nobody for anything, and run nothing."""

import re

import pytest

from octavo.server.documentation import documentation
from octavo.server.openapi import OPERATIONS
from octavo.server.parameters import PARAMETERS
from tests.fakes import FakeEngine, fake_replica
from tests.server.serving import asgi_client

pytestmark = pytest.mark.asyncio


async def test_both_are_served_and_the_page_may_load_nothing() -> None:
    async with asgi_client(fake_replica(FakeEngine())) as client:
        document = await client.get("/openapi.json")
        first, second = await client.get("/docs"), await client.get("/docs")
    assert document.json()["openapi"] == "3.1.0"
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    assert first.headers["content-security-policy"].startswith("default-src 'none'")
    assert first.text == second.text == documentation()


async def test_the_page_names_all_there_is_and_links_to_nothing_outside() -> None:
    text = documentation()
    assert all(f"<code>{parameter.name}</code>" in text for parameter in PARAMETERS)
    assert all(operation.path in text for operation in OPERATIONS)
    assert "<code>rate_limit_exceeded</code>" in text and "--max-body-bytes" in text
    assert not re.search(r"<script|src=|https?://|\]\(", text)
    links = re.findall(r'href="([^"]*)"', text)
    assert all(link == "openapi.json" or f'id="{link[1:]}"' in text for link in links)


async def test_what_stands_in_the_tables_cannot_become_markup() -> None:
    assert "&lt;" not in documentation().partition("<h2")[0]
    assert documentation().count("<h2") == 6
