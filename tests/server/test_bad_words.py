"""Words become the token sequences that spell them at the beginning of a text and behind a space."""

import pytest

from octavo.core.errors import InvalidRequestError
from octavo.core.sampling_params import MAX_BAD_WORD_TOKENS
from octavo.server.bad_words import MAX_BAD_WORDS, MAX_CHARACTERS, spellings
from tests.text.tiny_text import ids_of, tokenizer


def test_a_word_is_spelled_in_both_places() -> None:
    assert spellings(["hello"], tokenizer()) == (tuple(ids_of("hello")), tuple(ids_of("\u0120hello")))
    assert spellings([" hello"], tokenizer()) == spellings(["hello"], tokenizer())


def test_behind_a_space_only_with_as_many_tokens() -> None:
    assert spellings(["he", "he"], tokenizer()) == (tuple(ids_of("he")),)


def test_names_of_control_tokens_are_text() -> None:
    ((*ids,),) = spellings(["<|im_end|>"], tokenizer())
    assert ids == ids_of("<|", *"im_end", "|", ">")


@pytest.mark.parametrize(
    ("words", "message"),
    (
        ([""], r"bad_words\[0\] is blank"),
        (["a", "  "], r"bad_words\[1\] is blank"),
        (["ll" * MAX_CHARACTERS], f"is {2 * MAX_CHARACTERS} characters long; allowed: 1 to {MAX_CHARACTERS}"),
        (["a" * (MAX_BAD_WORD_TOKENS + 1)], f"is {MAX_BAD_WORD_TOKENS + 1} tokens long"),
        (["a"] * (MAX_BAD_WORDS + 1), f"is {MAX_BAD_WORDS + 1} words; allowed: at most {MAX_BAD_WORDS}"),
    ),
)
def test_limits(words: list[str], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        spellings(words, tokenizer())
    assert len(spellings(["a" * MAX_BAD_WORD_TOKENS] * MAX_BAD_WORDS, tokenizer())[0]) == MAX_BAD_WORD_TOKENS
