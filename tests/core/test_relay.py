import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo.core import relay
from octavo.core.messages import TokenLogprobs
from octavo.core.relay import ErrorMark, Identity, Mark, MarkError, MarkReader, PromptPrefix

PIECES = [
    (Mark(0, 0, 3, 16, None, [1, 22, 333]), b""),
    (Mark(0, 1, 9, 0, None, []), b"data: {}\n\n"),
    (Mark(0, 0, 9, 0, None, [7], TokenLogprobs([-0.1], [1], [[7, 8]], [[-0.1, -2.5]])), b""),
    (Mark(0, 0, 12, 16, "stop", [4]), b"data: :octavo [1,2]\n\ndata: [DONE]\n\n"),
    (ErrorMark(0, is_resumable=True), b"data: {}\n\n"),
    (ErrorMark(0, is_resumable=False), b""),
]
for mark, payload in PIECES:
    mark.num_bytes = len(payload)
STREAM = b"".join(mark.encode() + payload for mark, payload in PIECES)


@given(st.lists(st.integers(0, len(STREAM))))
def test_marks_and_payloads_come_out_whole_whatever_the_pieces(cuts: list[int]) -> None:
    reader = MarkReader()
    edges = [0, *sorted(cuts), len(STREAM)]
    found = [piece for start, end in itertools.pairwise(edges) for piece in reader.feed(STREAM[start:end])]
    assert found == PIECES


def test_a_prefix_survives_its_header() -> None:
    prefix = PromptPrefix(1000, bytes(range(16)))
    assert PromptPrefix.parse(prefix.header.decode()) == prefix


@pytest.mark.parametrize("header", ("", "7", "7 ", "7 !!", "x AAAAAAAAAAA=", "-1 AAAAAAAAAAA=", "7 AAAA"))
def test_a_prefix_that_is_none_is_ignored(header: str) -> None:
    assert PromptPrefix.parse(header) is None


def test_half_a_payload_is_kept_back() -> None:
    assert MarkReader().feed(STREAM[:-1])[:-1] == PIECES[:-2]


@pytest.mark.parametrize(
    "line",
    (
        b"data: {}\n\n",
        b":octavo [1,2]\n",
        b":octavo [-1,0,0,0,null,[]]\n",
        b':octavo ["1",0,0,0,null,[]]\n',
        b":octavo [0,0,0,0,null,[],{}]\n",
        b':octavo [0,0,0,0,"\xff",[]]\n',
        b":octavo-error [1]\n",
        b": ping\n",
    ),
)
def test_what_is_no_mark_is_refused(line: bytes) -> None:
    with pytest.raises(MarkError, match="is not a mark"):
        MarkReader().feed(line)


def test_a_mark_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "MAX_MARK_BYTES", 10)
    with pytest.raises(MarkError, match="too long"):
        MarkReader().feed(b":octavo [1,2,3")


def test_an_identity_travels_in_a_header() -> None:
    identity = Identity.new(1_700_000_000.5)
    assert identity.created == 1_700_000_000 and Identity.parse(identity.header.decode()) == identity
    for wrong in ("", "1 2 3", identity.header.decode().upper(), identity.header.decode() + " 4"):
        assert Identity.parse(wrong) is None
