"""Reasoning is told from the answer token by token, exactly where the text is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octavo.text.deltas import TextDelta
from octavo.text.reasoning import REASONING_TAGS, ReasoningSplitter
from octavo.text.reasoning_meter import ReasoningMeter

TOKENS = (
    b"a",
    b" ",
    b"\n",
    b"<",
    b"think",
    b">",
    b"</",
    b"</think>",
    b"<think>",
    b".</",
    b"/think>b",
    b"\xc3",
)
IDS = {token: token_id for token_id, token in enumerate(TOKENS)}
TAGS = REASONING_TAGS[0]


def metered(token_ids: list[int], *, is_open: bool) -> ReasoningMeter:
    meter = ReasoningMeter(TAGS, TOKENS, is_open=is_open)
    meter.push(token_ids)
    return meter


@pytest.mark.parametrize(
    ("text", "is_open", "num_tokens", "is_reasoning"),
    (
        ([], False, 0, False),
        ([], True, 0, True),
        ([b"\n"], True, 1, True),
        ([b"\n", b"<think>"], True, 0, True),
        ([b"\n", b"<think>", b"\n", b"a"], False, 2, True),
        ([b"<", b"think", b">", b"a"], False, 1, True),
        ([b"a", b"<think>", b"a"], False, 0, False),
        ([b"<think>", b"a", b"</think>", b"a", b"<think>", b"a"], False, 1, False),
        ([b"a", b"a", b"</", b"think", b">", b"a"], True, 2, False),
        ([b"a", b".</", b"think", b">"], True, 2, False),
        ([b"<", b"/think>b"], True, 0, False),
        ([b"</think>"], True, 0, False),
        ([b"a", b"</", b"a", b"</think>"], True, 3, False),
    ),
)
def test_tokens_of_reasoning(text: list[bytes], is_open: bool, num_tokens: int, is_reasoning: bool) -> None:
    meter = metered([IDS[token] for token in text], is_open=is_open)
    assert (meter.num_tokens, meter.is_reasoning) == (num_tokens, is_reasoning)


@pytest.mark.parametrize(
    ("text", "is_within"),
    ((b"", False), (b"a", False), (b"\xc3", True), (b"\xe2\x82", True), (b"\xe2\x82\xac", False),
     (b"a\xf0\x9f\x98", True), (b"\xf0\x9f\x98\x80", False), (b"\x80\x80\x80", False)),
)  # fmt: skip
def test_characters_that_have_begun(text: bytes, is_within: bool) -> None:
    """Each byte is a token here."""
    meter = ReasoningMeter(TAGS, [bytes((byte,)) for byte in range(256)], is_open=True)
    meter.push(text)
    assert meter.is_within_character is is_within


def test_ids_beyond_the_vocabulary_spell_nothing() -> None:
    assert metered([len(TOKENS)], is_open=True).num_tokens == 1


@settings(max_examples=200)
@given(st.lists(st.sampled_from(range(len(TOKENS) - 1)), max_size=14), st.booleans())
def test_where_the_text_is_reasoning_the_tokens_are(token_ids: list[int], is_open: bool) -> None:
    splitter, meter = ReasoningSplitter(TAGS, is_open=is_open), ReasoningMeter(TAGS, TOKENS, is_open=is_open)
    deltas = []
    for token_id in token_ids:
        deltas += splitter.push(TOKENS[token_id].decode())
        meter.push([token_id])
    deltas += splitter.push(".")
    assert meter.is_reasoning is not any(isinstance(delta, TextDelta) for delta in deltas)
    again = metered(token_ids, is_open=is_open)
    assert (again.num_tokens, again.is_reasoning) == (meter.num_tokens, meter.is_reasoning)
