"""Frames come out as they went in, however they are cut."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from octavo.core.channel import CHANNEL_BYTES, FrameError, FrameReader, Ticket, frame

FRAMES = [(1, b"one"), (2, b""), (1 << 40, b"x" * 300), (0, b"")]


@given(
    frames=st.lists(st.tuples(st.integers(0, (1 << 64) - 1), st.binary(max_size=300)), max_size=20),
    cuts=st.lists(st.integers(0, 6000), max_size=60),
)
@example(frames=FRAMES, cuts=list(range(6000)))
def test_frames_come_whole_in_whatever_pieces(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = b"".join(frame(number, piece) for number, piece in frames)
    reader, found, position = FrameReader(), [], 0
    for cut in [*sorted(cut for cut in cuts if cut < len(data)), len(data)]:
        found += reader.feed(data[position:cut])
        position = cut
    assert found == frames


def test_a_frame_that_is_too_long_is_refused_by_its_head() -> None:
    head = frame(1, bytes(CHANNEL_BYTES + 1))[:12]
    with pytest.raises(FrameError, match="262145 bytes is too long"):
        FrameReader().feed(head)


def test_a_ticket_is_read_as_it_was_written() -> None:
    ticket = Ticket("0123456789abcdef" * 2, 12)
    assert Ticket.parse(ticket.header.decode()) == ticket


@pytest.mark.parametrize(
    "header", ("", "12", "0123 4", "g" * 32 + " 1", "0" * 32, "0" * 32 + " -1", "0" * 32 + " 0")
)
def test_what_is_no_ticket(header: str) -> None:
    assert Ticket.parse(header) is None
