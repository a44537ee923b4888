import functools
import pathlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo.config import Environment
from octavo.core.errors import InvalidRequestError, ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.engine.model_files import open_text
from octavo.models.source import resolve
from octavo.text.encoders import byte_level_encoder
from octavo.text.pre_tokenizers import PRE_TOKENIZERS
from octavo.text.tokenizer import Tokenizer
from octavo.text.vocabulary import SPACE_MARK, Vocabulary
from tests.text import tiny_sentencepiece
from tests.text.tiny_text import CONTROL, END, MERGES, START, TOKENS, ids_of, tokenizer

TOKENIZER = tokenizer()
TOKENIZERS = [tokenizer(name) for name in ("gpt-2", "smollm", "llama-bpe")]
SENTENCEPIECE_TOKENIZERS = [tiny_sentencepiece.tokenizer(adds_space_prefix=flag) for flag in (False, True)]
GGUF = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "gpt-2",
    "tokenizer.ggml.tokens": ["a", "b", "ab", "<s>"],
    "tokenizer.ggml.token_type": [1, 1, 1, 3],
    "tokenizer.ggml.merges": ["a b"],
    "tokenizer.ggml.bos_token_id": 3,
}

SENTENCEPIECE_MODEL = {"tokenizer.ggml.model": "llama"}


def of_gguf(changes: dict[str, Any]) -> Tokenizer:
    metadata = ModelMetadata("m.gguf", GGUF | changes)
    return Tokenizer.of_gguf(metadata, Vocabulary.of_gguf(metadata))


def test_merges_apply_in_order_within_words() -> None:
    assert TOKENIZER.encode("hello hello", allow_special=False) == ids_of("hello", "Ġhello")
    assert TOKENIZER.encode("hel", allow_special=False) == ids_of("he", "l")
    assert TOKENIZER.encode("", allow_special=False) == []


def test_control_tokens_are_parsed_only_where_allowed() -> None:
    text = "<|im_start|>hello<|im_end|>"
    assert TOKENIZER.encode(text, allow_special=True) == [START, *ids_of("hello"), END]
    as_text = TOKENIZER.encode(text, allow_special=False)
    assert not {START, END} & set(as_text)
    assert TOKENIZER.decode(as_text) == text


def test_of_two_control_tokens_the_longer_is_taken() -> None:
    assert TOKENIZER.encode("<|im_end|>x", allow_special=True) == [2]
    assert TOKENIZER.encode("<|im_end|>y", allow_special=True) == [END, *ids_of("y")]


def test_user_defined_tokens_are_one_token_everywhere() -> None:
    assert TOKENIZER.encode("<think>he", allow_special=False) == ids_of("<think>", "he")


def test_a_raw_prompt_begins_with_the_begin_token_once() -> None:
    with_bos = tokenizer(bos_id=START, adds_bos=True)
    assert with_bos.encode_prompt("he") == [START, *ids_of("he")]
    assert with_bos.encode_prompt("<|im_start|>he") == [START, *ids_of("he")]
    assert tokenizer(bos_id=START).encode_prompt("he") == ids_of("he")


def test_decoding_leaves_control_tokens_out_unless_asked() -> None:
    ids = [START, *ids_of("hello"), END]
    assert TOKENIZER.decode(ids) == "hello"
    assert TOKENIZER.decode(ids, skip_control=False) == "<|im_start|>hello<|im_end|>"
    assert TOKENIZER.decode(ids_of("æ", "Ĺ")) == "\ufffd"


@given(st.text())
def test_text_survives_a_round_trip(text: str) -> None:
    for one in TOKENIZERS:
        assert one.decode(one.encode(text, allow_special=False)) == text


def test_half_a_surrogate_pair_is_the_users_error() -> None:
    with pytest.raises(InvalidRequestError, match="surrogate"):
        TOKENIZER.encode("a\ud800", allow_special=True)


def test_gguf_metadata_gives_a_tokenizer() -> None:
    assert of_gguf({}).encode_prompt("ab") == [2]
    assert of_gguf({"tokenizer.ggml.add_bos_token": True}).encode_prompt("ab") == [3, 2]
    assert of_gguf({"tokenizer.ggml.pre": "llama-bpe"}).encode_prompt("ab") == [3, 2]  # the family's default


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"tokenizer.ggml.pre": "klingon"},
            "pre-tokenizer 'klingon' is not supported; supported: gpt-2, .*smollm",
        ),
        ({"tokenizer.ggml.merges": ["a c"]}, "merges do not fit"),
        ({"tokenizer.ggml.merges": ["ab"]}, "merges do not fit"),
        ({"tokenizer.ggml.merges": 3}, "tokenizer.ggml.merges is 3"),
        (SENTENCEPIECE_MODEL, "tokenizer.ggml.scores is missing"),
        (SENTENCEPIECE_MODEL | {"tokenizer.ggml.scores": [0.0]}, "1 scores for 4 tokens"),
        (
            SENTENCEPIECE_MODEL | {"tokenizer.ggml.scores": ["x"]},
            "scores is .*; expected an array of numbers",
        ),
    ],
)
def test_what_cannot_be_built_is_named(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ModelFileError, match=f"m.gguf: .*{complaint}"):
        of_gguf(changes)


SENTENCEPIECE = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": list(tiny_sentencepiece.TOKENS),
    "tokenizer.ggml.scores": list(tiny_sentencepiece.SCORES),
    "tokenizer.ggml.token_type": tiny_sentencepiece.TYPES,
    "tokenizer.ggml.bos_token_id": None,  # SentencePiece's own, 1
}


def names(tokenizer: Tokenizer, text: str) -> list[str]:
    return tiny_sentencepiece.names_of(tokenizer.encode_prompt(text))


def test_gguf_metadata_gives_a_sentencepiece_tokenizer() -> None:
    with_prefix = of_gguf(SENTENCEPIECE)
    assert names(with_prefix, "hello the") == ["<s>", "▁hello", "▁the"]
    assert names(with_prefix, "hello</s>hello") == ["<s>", "▁hello", "</s>", "▁hello"]
    assert names(with_prefix, "the<think>the") == ["<s>", "▁the", "<think>", "▁the"]
    assert names(with_prefix, "日z") == ["<s>", "▁", "日", "<0x7A>"]
    without = of_gguf(SENTENCEPIECE | {"tokenizer.ggml.add_space_prefix": False})
    assert names(without, "hello the") == ["<s>", "hello", "▁the"]
    assert names(of_gguf(SENTENCEPIECE | {"tokenizer.ggml.add_bos_token": False}), "hello") == ["▁hello"]


def test_phi3s_control_tokens_swallow_the_white_space_after_them() -> None:
    phi3 = of_gguf(SENTENCEPIECE | {"general.architecture": "phi3"})
    assert names(phi3, "[INST] \n hello") == ["<s>", "[INST]", "▁hello"]
    assert names(phi3, "<s> hello") == ["<s>", "▁", "▁hello"]


@given(st.text() | st.text("ab hello<think>▁s</[INST]  "))
def test_sentencepiece_text_survives_a_round_trip(text: str) -> None:
    for one in SENTENCEPIECE_TOKENIZERS:
        ids = one.encode(text, allow_special=False)
        assert not one.vocabulary.control_ids & set(ids)
        if SPACE_MARK not in text:  # which stands for a space, and so becomes one
            assert one.decode(ids) == text
            parsed = one.encode(text, allow_special=True)
            assert one.decode(parsed, skip_control=False) == text


def test_tiny_tokens_are_distinct() -> None:
    assert len(set(TOKENS)) == len(TOKENS)


def anonymous_bytes() -> int:
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("RssAnon:")[2].split()[0])


@pytest.mark.parametrize("one", [TOKENIZERS[1], SENTENCEPIECE_TOKENIZERS[0]])
def test_texts_are_not_kept(one: Tokenizer) -> None:
    """The library would, as words, up to 256 bytes and 10,000 of them: some 5 kB each."""

    def encode(numbers: range) -> None:
        for number in numbers:
            one.encode_prompt(f"{number} hello " * 16)

    encode(range(500))
    before = anonymous_bytes()
    encode(range(500, 2500))
    assert anonymous_bytes() - before < 4 << 20


SAMPLES = (
    "What is the capital of France?",
    "Übergrößenträger, naïve café; Ελληνικά и русский; العربية עברית; हिन्दी ไทย 中文 日本語 한국어",
    "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301 \u200b\ufeff",
    "def f(x):\n\treturn {'a': [1, 2.5e-3]}  # ok\r\n",
    "   leading,  double,\n\n\n   and trailing   ",
)


@pytest.mark.full
def test_the_built_in_tokenizer() -> None:
    text = open_text(resolve("default", Environment.read().home))
    encode = functools.partial(text.tokenizer.encode, allow_special=False)
    assert encode("What is the capital of France?") == [1780, 314, 260, 3575, 282, 4649, 47]
    assert [text.tokenizer.vocabulary.tokens[i] for i in encode("in 2024")] == ["in", "Ġ", "2", "0", "2", "4"]
    assert text.end_ids == {0, 2}
    for sample in SAMPLES:
        assert text.tokenizer.decode(encode(sample)) == sample


def test_a_gap_is_described_by_the_models_own_tokens() -> None:
    names = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
    gapped = Vocabulary((*TOKENS, *names), control_ids=range(len(CONTROL)), bos_id=START)
    encoder = byte_level_encoder(gapped, MERGES, PRE_TOKENIZERS["smollm"])
    prefix, suffix, middle = (len(TOKENS) + i for i in range(3))
    before, after = ids_of("he"), ids_of("<|", *"im_end", "|", ">")
    expected = [START, prefix, *before, suffix, *after, middle]
    assert Tokenizer(gapped, encoder, adds_bos=True).encode_infill("he", "<|im_end|>") == expected
    with pytest.raises(InvalidRequestError, match="no tokens for filling in the middle") as caught:
        tokenizer().encode_infill("he", "lo")
    assert caught.value.param == "suffix"
