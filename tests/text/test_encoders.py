import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo.core.errors import InvalidRequestError
from octavo.text.encoders import byte_level_encoder, encode, merges_of_scores, sentencepiece_encoder
from octavo.text.pre_tokenizers import PRE_TOKENIZERS
from octavo.text.vocabulary import BYTE_ALPHABET, Spelling, Vocabulary
from tests.text.tiny_sentencepiece import merge_by_score

scored_words = st.dictionaries(
    st.text("abc", min_size=2, max_size=5), st.integers(-100, 0), min_size=1, max_size=12
)


@given(scored_words, st.text("abc", max_size=20))
def test_merges_by_rank_are_merges_by_score(words: dict[str, int], text: str) -> None:
    ranked = sorted(words, key=lambda word: (words[word], word))  # no two tokens of a real model are equal
    scores = {**{word: float(rank) for rank, word in enumerate(ranked)}, "a": -1.0, "b": -2.0, "c": -3.0}
    vocabulary = Vocabulary(list(scores), control_ids=[], spelling=Spelling.SENTENCEPIECE)
    encoder = sentencepiece_encoder(vocabulary, list(scores.values()), adds_space_prefix=False)
    assert encode(encoder, text, has_positions=True).tokens == merge_by_score(text, scores)


def test_merges_are_all_ways_to_make_a_token_best_first() -> None:
    scores = {"a": -9.0, "b": -8.0, "ab": -2.0, "aba": -1.0, "ba": -3.0, "xy": 0.0}
    assert merges_of_scores(scores) == [("ab", "a"), ("a", "ba"), ("a", "b"), ("b", "a")]


def test_a_token_too_long_to_be_cut_everywhere_is_refused() -> None:
    vocabulary = Vocabulary(["a", "b" * 5_000_000], control_ids=[], spelling=Spelling.SENTENCEPIECE)
    with pytest.raises(ValueError, match="5000000 characters; allowed: 1024"):
        sentencepiece_encoder(vocabulary, [0.0, 0.0], adds_space_prefix=False)


def test_no_text_gives_a_control_token() -> None:
    tokens = ["abc", *BYTE_ALPHABET]
    vocabulary = Vocabulary(tokens, control_ids=[0])
    encoder = byte_level_encoder(vocabulary, [], PRE_TOKENIZERS["llama-bpe"])  # takes whole words first
    assert encode(encoder, "abc", has_positions=True).tokens == list("abc")
    with pytest.raises(ValueError, match="merges do not fit"):
        byte_level_encoder(vocabulary, [("a", "bc")], PRE_TOKENIZERS["gpt-2"])

    pieces = ["<s>", "<s", "<", "s", ">"]
    vocabulary = Vocabulary(pieces, control_ids=[0], spelling=Spelling.SENTENCEPIECE)
    encoder = sentencepiece_encoder(vocabulary, [0.0] * 5, adds_space_prefix=False)
    assert encode(encoder, "<s>", has_positions=True).tokens == ["<s", ">"]


def test_half_a_surrogate_pair_is_the_users_error() -> None:
    vocabulary = Vocabulary(BYTE_ALPHABET, control_ids=[])
    with pytest.raises(InvalidRequestError, match="surrogate"):
        encode(byte_level_encoder(vocabulary, [], PRE_TOKENIZERS["gpt-2"]), "a\ud800")


@pytest.mark.parametrize("has_positions", (False, True))
def test_a_long_text_holds_up_no_other_thread(has_positions: bool) -> None:
    vocabulary = Vocabulary([*BYTE_ALPHABET], control_ids=[])
    encoder = byte_level_encoder(vocabulary, [], PRE_TOKENIZERS["llama-bpe"])
    words = " ".join(f"word{number}" for number in range(60_000))
    began, ended = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        assert encode(encoder, words, has_positions=has_positions).ids
        ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    began.wait()
    num_turns = 0
    while not ended.wait(0.002):
        num_turns += 1
    thread.join()
    assert num_turns >= 10
