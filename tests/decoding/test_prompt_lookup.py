import random

from hypothesis import given
from hypothesis import strategies as st

from octavo.decoding.prompt_lookup import NGRAM, PromptLookup


def test_it_copies_what_followed_the_last_time() -> None:
    tokens = [1, 2, 3, 70, 71, 9, 1, 2, 3, 80, 81, 82, 5, 6, 1, 2, 3]
    assert PromptLookup().propose(tokens, 3) == [80, 81, 82]


def test_a_loop_is_continued_beyond_its_first_round() -> None:
    assert PromptLookup().propose([4, 7, 8, 9, 7, 8, 9, 7, 8, 9], 7) == [7, 8, 9, 7, 8, 9, 7]
    assert PromptLookup().propose([5, 5, 5, 5], 3) == [5, 5, 5]


def test_nothing_is_copied_from_where_nothing_stood() -> None:
    for tokens in ([], [1], [1, 2, 3], [1, 2, 3, 9, 2, 3], random.Random(0).sample(range(50_000), 500)):
        assert PromptLookup().propose(tokens, 5) == []


def test_bytes_of_two_tokens_are_no_token() -> None:
    """0x01000000 behind 0x00000001 and such: the search is in bytes."""
    shifted = [0x00000200, 0x00000300, 0x00000400, 0x00000500]
    assert PromptLookup().propose([*shifted, 7, 2, 3, 4], 3) == []


@given(st.lists(st.integers(0, 2), max_size=60), st.integers(1, 20))
def test_it_is_the_last_place_a_slow_search_finds(tokens: list[int], most: int) -> None:
    expected: list[int] = []
    for start in range(len(tokens) - 1, NGRAM - 1, -1):
        if tokens[start - NGRAM : start] == tokens[-NGRAM:]:
            expected = list(tokens)
            for at in range(start, start + most):
                expected.append(expected[at])
            expected = expected[len(tokens) :]
            break
    lookup = PromptLookup()
    for length in range(len(tokens)):
        lookup.propose(tokens[:length], 1)
    assert lookup.propose(tokens, most) == expected
