from typing import Any

import pytest

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.text.vocabulary import BYTE_ALPHABET, Vocabulary, vocabulary_hash
from tests.text.tiny_text import TOKENS, vocabulary

GGUF = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": ["<|endoftext|>", "a", "Ġ", "<|eot_id|>", "<x>", "<tool>", "</s>"],
    "tokenizer.ggml.token_type": [3, 1, 1, 3, 3, 4, 1],
    "tokenizer.ggml.bos_token_id": 4,
    "tokenizer.ggml.eos_token_id": 4,
}


def of_gguf(changes: dict[str, Any]) -> Vocabulary:
    values = {key: value for key, value in (GGUF | changes).items() if value is not None}
    return Vocabulary.of_gguf(ModelMetadata("m.gguf", values))


def test_vocabularies_with_the_same_hash_have_the_same_tokens() -> None:
    made = [
        vocabulary_hash(tokens) for tokens in ([b"a", b"b c"], [b"b c", b"a"], [b"ab", b" c"], [b"a", b"b c"])
    ]
    assert made[0] == made[3] and len(set(made)) == 3


def test_the_alphabet_is_gpt2s() -> None:
    assert len(set(BYTE_ALPHABET)) == 256
    assert [BYTE_ALPHABET[byte] for byte in (0x20, 0x0A, 0x41, 0x00, 0x7F, 0xAD, 0xFF)] == list("ĠĊAĀġŃÿ")


def test_token_bytes_spell_ordinary_tokens_and_name_the_others() -> None:
    table = vocabulary().token_bytes
    assert [table[TOKENS.index(token)] for token in BYTE_ALPHABET] == [bytes([byte]) for byte in range(256)]
    assert table[TOKENS.index("Ġhello")] == b" hello"
    assert table[TOKENS.index("<|im_end|>")] == b"<|im_end|>"
    assert table[TOKENS.index("<think>")] == b"<think>"
    assert len(table) == len(vocabulary()) == len(TOKENS)


def test_answers_end_at_what_the_file_names_and_at_known_control_tokens() -> None:
    found = of_gguf({})
    assert found.end_ids == {0, 3, 4}  # </s> is an ordinary token here
    assert of_gguf({"tokenizer.ggml.eot_token_id": 1, "tokenizer.ggml.eom_token_id": 2}).end_ids == {
        0,
        1,
        2,
        3,
        4,
    }
    assert (found.bos_id, found.eos_id) == (4, 4)
    assert (found.control_ids, found.user_defined_ids) == ({0, 3, 4}, {5})
    assert of_gguf({"tokenizer.ggml.bos_token_id": None}).bos_id is None


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"tokenizer.ggml.model": "bert"}, "tokenizer model 'bert' is not supported; supported: gpt2, llama"),
        ({"tokenizer.ggml.tokens": None}, "tokenizer.ggml.tokens is missing"),
        ({"tokenizer.ggml.token_type": [1]}, "1 token types for 7 tokens"),
        ({"tokenizer.ggml.eos_token_id": 7}, "eos_token_id is 7; expected an id below 7"),
        ({"tokenizer.ggml.tokens": list("aabcdef")}, "lists a token twice"),
        ({"tokenizer.ggml.tokens": ["a", "b b", *"cdefg"]}, "'b b' is not spelled in the byte alphabet"),
        ({"tokenizer.ggml.tokens": ["a", "b\u00ad", *"cdefg"]}, "is not spelled in the byte alphabet"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ModelFileError, match=f"m.gguf: .*{complaint}"):
        of_gguf(changes)
