"""The pages: what they link to is there, and so is every page that code and tests speak of."""

import pathlib
import re
from collections.abc import Iterator

import pytest

from tests import rules

PAGES = (rules.ROOT / "README.md", rules.ROOT / "CHANGELOG.md", *sorted((rules.ROOT / "docs").glob("*.md")))
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_NAMED_PAGE = re.compile(r"(?<![\w/])docs/[A-Za-z0-9_-]+\.md\b")


def anchors(page: str) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    titles = [re.sub(r"[^\w\- ]", "", title.lower()) for title in _HEADING.findall(_FENCED.sub("", page))]
    return {title.replace(" ", "-") for title in titles}


def broken_links(page: pathlib.Path) -> Iterator[str]:
    for target in _LINK.findall(_FENCED.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        if not path.exists() or (anchor and anchor not in anchors(path.read_text())):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page: pathlib.Path) -> None:
    assert list(broken_links(page)) == []


def test_every_page_that_a_text_speaks_of_is_there() -> None:
    sources = [
        source
        for folder in ("src", "tests", "tools")
        for source in rules.sources(folder, ".py", ".cpp", ".h")
    ]
    texts = {str(source.path): source.text for source in sources} | {
        page.name: page.read_text() for page in PAGES
    }
    missing = [
        f"{name}: {found}"
        for name, text in texts.items()
        for found in _NAMED_PAGE.findall(text)
        if not (rules.ROOT / found).exists()
    ]
    assert missing == []


def test_links_that_lead_nowhere_are_found(tmp_path: pathlib.Path) -> None:
    other = tmp_path / "other.md"
    other.write_text("# A page\n\n## What `it` is, and why\n")
    page = tmp_path / "page.md"
    page.write_text(
        "## Here\n[a](other.md) [b](other.md#what-it-is-and-why) [c](#here) [d](https://example.com/x)\n"
        "[e](none.md) [f](other.md#nothing) [g](#there)\n```\n[h](none.md)\n# not a heading\n```\n"
    )
    assert list(broken_links(page)) == ["none.md", "other.md#nothing", "#there"]
