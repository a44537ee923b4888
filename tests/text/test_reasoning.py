"""Reasoning is told from the answer, however the text is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo.text.deltas import Delta, ReasoningDelta, TextDelta, merged
from octavo.text.reasoning import REASONING_TAGS, ReasoningSplitter, reasoning_tags_of
from tests.text.tiny_text import chunks, vocabulary

THINK, BRACKETS = REASONING_TAGS


def split(text: str, *, is_open: bool = False, cuts: list[int] | None = None) -> list[Delta]:
    splitter = ReasoningSplitter(THINK, is_open=is_open)
    deltas = [delta for piece in chunks(text, cuts or []) for delta in splitter.push(piece)]
    return merged([*deltas, *splitter.finish()])


@pytest.mark.parametrize(
    ("text", "is_open", "reasoning", "answer"),
    (
        ("<think>\nHm.\n</think>\n\nYes.\n", False, "Hm.", "Yes.\n"),
        ("\n<think>Hm.</think>Yes.", False, "Hm.", "Yes."),
        ("Hm.\n</think>\n\nYes.", True, "Hm.", "Yes."),
        ("<think>Hm.</think> Yes.", True, "Hm.", "Yes."),
        ("<think>\n\n</think>\n\nYes.", False, "", "Yes."),
        ("<think>Hm. ", False, "Hm.", ""),
        ("Hm. </thi", True, "Hm. </thi", ""),
        ("\n<thi", True, "<thi", ""),
        ("<thi", False, "", "<thi"),
        (" \nYes. <think>no</think>", False, "", " \nYes. <think>no</think>"),
        ("Yes.", False, "", "Yes."),
        ("<think>a</think>b</think>c", False, "a", "b</think>c"),
        ("", True, "", ""),
    ),
)
def test_reasoning_and_answer(text: str, is_open: bool, reasoning: str, answer: str) -> None:
    expected = [*([ReasoningDelta(reasoning)] if reasoning else []), *([TextDelta(answer)] if answer else [])]
    assert split(text, is_open=is_open) == expected


PIECES = ("<think>", "</think>", "<thi", "</", ">", " ", "\n", "a", "é", "<")


@given(st.lists(st.sampled_from(PIECES)).map("".join), st.booleans(), st.lists(st.integers(0, 60)))
def test_any_cut_gives_the_same_at_every_moment(text: str, is_open: bool, cuts: list[int]) -> None:
    splitter = ReasoningSplitter(THINK, is_open=is_open)
    out: list[Delta] = []
    seen = ""
    for piece in chunks(text, cuts):
        out += splitter.push(piece)
        seen += piece
        assert merged(out) == ReasoningSplitter(THINK, is_open=is_open).push(seen)
    assert merged([*out, *splitter.finish()]) == split(text, is_open=is_open)


def test_a_model_that_reasons_knows_the_tags() -> None:
    assert reasoning_tags_of("{{ '<think>' }} ... {{ '</think>' }}", vocabulary()) is THINK
    assert reasoning_tags_of("[THINK][/THINK]", vocabulary()) is BRACKETS
    assert reasoning_tags_of("{{ messages }}", vocabulary()) is None
    assert reasoning_tags_of(None, vocabulary()) is None
