"""A mark is found wherever the text is cut, and what cannot be part of one is let through at once."""

import re

from hypothesis import given
from hypothesis import strategies as st

from octavo.text.marks import MarkSearch
from tests.text.tiny_text import chunks

MARK, OTHER = "<a><b>", "<a>`"
texts = st.lists(st.sampled_from(["<a>", "<b>", "<a", "<", "`", MARK, OTHER, " ", "\n", "x"])).map("".join)


@given(texts, st.lists(st.integers(0, 40)))
def test_any_cut_gives_the_same(text: str, cuts: list[int]) -> None:
    search, passed, seen = MarkSearch((MARK, OTHER)), "", ""
    for piece in chunks(text, cuts):
        passed += search.push(piece)
        seen += piece
        if search.mark is not None:
            break
    found = re.search(f"{MARK}|{OTHER}", seen)
    assert search.mark == (found and found[0])
    assert passed == (seen[: found.start()].rstrip() if found else _without_held(seen))
    assert search.rest == (seen[found.end() :] if found else "")
    assert passed + search.flush() + search.rest == seen


def _without_held(text: str) -> str:
    """What is no white space before what may become a mark."""
    partial = max(n for mark in (MARK, OTHER) for n in range(len(mark)) if text.endswith(mark[:n]))
    return text[: len(text) - partial].rstrip()


def test_white_space_waits_for_what_follows() -> None:
    search = MarkSearch(("x",))
    assert [search.push(piece) for piece in ("a", " ", "\n", "b ")] == ["a", "", "", " \nb"]
    assert search.flush() == " "
