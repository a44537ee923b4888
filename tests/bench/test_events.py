"""Events are the same however the network cuts them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo.bench.events import EventParser

STREAM = (
    b': a comment\n\ndata: {"n":1}\n\nevent: x\r\ndata: two\r\ndata:  lines\r\n\r\n\n\n'
    b"data:tight\n\ndata: [DONE]\n\n"
)
EVENTS = [b'{"n":1}', b"two\n lines", b"tight", b"[DONE]"]


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_any_cut_gives_the_same_events(cuts: list[int]) -> None:
    parser, found = EventParser(), []
    edges = [0, *sorted(cuts), len(STREAM)]
    for begin, end in itertools.pairwise(edges):
        found += parser.feed(STREAM[begin:end])
    assert found == EVENTS


def test_an_event_comes_with_the_byte_that_ends_it() -> None:
    parser = EventParser()
    assert parser.feed(b"data: a\n") == []
    assert parser.feed(b"\ndata: b") == [b"a"]


@pytest.mark.parametrize("text", [b"\n\n\n", b": nothing\n\n", b"id: 7\n\n"])
def test_what_has_no_data_is_no_event(text: bytes) -> None:
    assert EventParser().feed(text) == []
