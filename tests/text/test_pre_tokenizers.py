import pytest

from octavo.text.pre_tokenizers import PRE_TOKENIZERS

TEXT = "We'LL pay 12345 for  it!!\n\n  日本 x"
# The pieces as GPT-2's, Llama 3's and Qwen2's own tokenizers cut them; spaces and line feeds in GPT-2's
# alphabet.
EXPECTED = {
    "gpt-2": ["We", "'", "LL", "Ġpay", "Ġ12345", "Ġfor", "Ġ", "Ġit", "!!", "ĊĊĠ", "Ġ日本", "Ġx"],
    "smollm": ["We", "'", "LL", "Ġpay", "Ġ", *"12345", "Ġfor", "Ġ", "Ġit", "!!", "ĊĊĠ", "Ġ日本", "Ġx"],
    "llama-bpe": ["We", "'LL", "Ġpay", "Ġ", "123", "45", "Ġfor", "Ġ", "Ġit", "!!ĊĊ", "Ġ", "Ġ日本", "Ġx"],
    "qwen2": ["We", "'LL", "Ġpay", "Ġ", *"12345", "Ġfor", "Ġ", "Ġit", "!!ĊĊ", "Ġ", "Ġ日本", "Ġx"],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_text_is_cut_as_the_family_cuts_it(name: str) -> None:
    pieces = PRE_TOKENIZERS[name].build().pre_tokenize_str(TEXT)
    cut = [TEXT[start:end].replace(" ", "Ġ").replace("\n", "Ċ") for _, (start, end) in pieces]
    assert cut == EXPECTED[name]


def test_qwen2_alone_composes_characters() -> None:
    normalizers = {name: entry.build_normalizer() for name, entry in PRE_TOKENIZERS.items()}
    assert [name for name, normalizer in normalizers.items() if normalizer] == ["qwen2"]
    assert normalizers["qwen2"].normalize_str("e\u0301") == "é"
