import functools

from hypothesis import given
from hypothesis import strategies as st

from octavo.text.detokenizer import Detokenizer
from tests.text.tiny_text import END, TOKENS, chunks, ids_of, tokenizer, vocabulary

VOCABULARY = vocabulary()
TOKENIZER = tokenizer()
any_ids = st.lists(st.integers(0, len(TOKENS) - 1))
utf8_ids = st.text().map(functools.partial(TOKENIZER.encode, allow_special=False))


def test_half_a_character_is_held_back() -> None:
    detokenizer = Detokenizer(VOCABULARY)
    first, second, third = TOKENIZER.encode("日", allow_special=False)
    assert [detokenizer.push([first]), detokenizer.push([second]), detokenizer.push([third])] == [
        "",
        "",
        "日",
    ]


def test_bytes_that_become_nothing_are_replaced() -> None:
    detokenizer = Detokenizer(VOCABULARY)
    first, second, _ = TOKENIZER.encode("日", allow_special=False)
    assert detokenizer.push([first, second]) == ""
    assert detokenizer.push(ids_of("a")) == "\ufffda"
    assert detokenizer.push([first]) == ""
    assert detokenizer.is_inside_a_character
    assert detokenizer.flush() == "\ufffd"
    assert not detokenizer.is_inside_a_character
    assert detokenizer.flush() == ""


def test_control_tokens_have_no_text_unless_asked_for() -> None:
    ids = [*ids_of("he"), END, *ids_of("<think>")]
    assert Detokenizer(VOCABULARY).push(ids) == "he<think>"
    assert Detokenizer(VOCABULARY, skip_control=False).push(ids) == "he<|im_end|><think>"


def test_ids_beyond_the_vocabulary_have_no_text() -> None:
    assert Detokenizer(VOCABULARY).push([*ids_of("he"), len(TOKENS), 10**6]) == "he"


@given(any_ids | utf8_ids, st.lists(st.integers(0, 40)))
def test_chunks_add_up_to_the_whole(ids: list[int], cuts: list[int]) -> None:
    detokenizer = Detokenizer(VOCABULARY)
    pieces = [detokenizer.push(chunk) for chunk in chunks(ids, cuts)]
    assert "".join(pieces) + detokenizer.flush() == TOKENIZER.decode(ids)


def test_some_control_tokens_may_show() -> None:
    start, end = 0, END
    assert Detokenizer(VOCABULARY, shown_ids=frozenset((start,))).push([start, end]) == "<|im_start|>"
    assert Detokenizer(VOCABULARY, skip_control=False).push([start, end]) == "<|im_start|><|im_end|>"
