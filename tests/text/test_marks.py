"""A mark is found wherever the text is cut, and what cannot be part of one is let through at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo.text.marks import MarkSearch
from tests.text.tiny_text import chunks

MARK = "<a><b>"
texts = st.lists(st.sampled_from(["<a>", "<b>", "<a", "<", MARK, " ", "\n", "x"])).map("".join)


@given(texts, st.lists(st.integers(0, 40)))
def test_any_cut_gives_the_same(text: str, cuts: list[int]) -> None:
    search, passed, seen = MarkSearch(MARK), "", ""
    for piece in chunks(text, cuts):
        passed += search.push(piece)
        seen += piece
        if search.rest is not None:
            break
    before, mark, _ = seen.partition(MARK)
    assert passed == (before.rstrip() if mark else _without_held(seen))
    assert search.rest == (None if not mark else seen[len(before) + len(mark) :])
    assert passed + search.flush() + (search.rest or "") == seen


def _without_held(text: str) -> str:
    """What is no white space before what may become the mark."""
    partial = max((n for n in range(len(MARK)) if text.endswith(MARK[:n])), default=0)
    return text[: len(text) - partial].rstrip()


@pytest.mark.parametrize("mark", ("", "x"))
def test_white_space_waits_for_what_follows(mark: str) -> None:
    search = MarkSearch(mark)
    assert [search.push(piece) for piece in ("a", " ", "\n", "b ")] == ["a", "", "", " \nb"]
    assert search.flush() == " "
