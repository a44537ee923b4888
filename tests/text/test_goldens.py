"""Our tokenizers against llama.cpp's, by what tools/tokenizer_goldens.py has written down."""

import functools
import json
import pathlib
import unicodedata
from typing import Any

import pytest

from octavo.config import Environment
from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.engine.model_files import open_text
from octavo.text.pre_tokenizers import PRE_TOKENIZERS
from octavo.text.tokenizer import Tokenizer
from octavo.text.vocabulary import Vocabulary

FOLDER = pathlib.Path(__file__).parent.parent / "golden"
GOLDEN = json.loads((FOLDER / "tokenizers.json").read_text())
TEXTS: list[str] = json.loads((FOLDER / "tokenizer_texts.json").read_text())
SENTENCEPIECE = {"sentencepiece, without prefix": False, "sentencepiece, with prefix": True}

# Where we differ from llama.cpp and why: a text (by its beginning), and whether control tokens are parsed.
COMPOSED = "llama.cpp does not bring text to Unicode NFC, as the models' own tokenizer does"
MARKS = "llama.cpp takes combining marks for no part of a word, the models' own tokenizer takes them for one"
CONTROL = "llama.cpp merges what a user wrote into a control token"
NAMED_END = "llama.cpp takes a token named </s> for a control token, which here is a word or a tag of HTML"
DIFFERENCES = {
    ("qwen2", "e\u0301 a", False): COMPOSED,
    ("qwen2", "e\u0301 a", True): COMPOSED,
    ("tekken", "हिन्दी", False): MARKS,
    ("tekken", "हिन्दी", True): MARKS,
    ("gpt-4o", "हिन्दी", False): MARKS,
    ("gpt-4o", "हिन्दी", True): MARKS,
    ("sentencepiece, without prefix", "<s>not", False): CONTROL,
    ("sentencepiece, without prefix", "<|im_start|><", False): CONTROL,
    ("sentencepiece, with prefix", "<s>not", False): CONTROL,
    ("sentencepiece, with prefix", "<|im_start|><", False): CONTROL,
    ("Qwen", "e\u0301 a", False): COMPOSED,
    ("Qwen", "e\u0301 a", True): COMPOSED,
    ("Qwen", "<s>not", True): NAMED_END,
    ("Qwen", "<|im_start|><", True): NAMED_END,
    ("Gemma", "<s>not", False): NAMED_END,
    ("Gemma", "<|im_start|><", False): NAMED_END,
}


@functools.cache
def tokenizer(name: str) -> Tokenizer:
    kind = "sentencepiece" if name in SENTENCEPIECE else "byte_level"
    vocabulary = GOLDEN[kind]
    values = {
        "tokenizer.ggml.model": "llama" if kind == "sentencepiece" else "gpt2",
        "tokenizer.ggml.pre": name,
        "tokenizer.ggml.tokens": vocabulary["tokens"],
        "tokenizer.ggml.token_type": vocabulary["types"],
        "tokenizer.ggml.scores": [-float(index) for index in range(len(vocabulary["tokens"]))],
        "tokenizer.ggml.merges": vocabulary.get("merges"),
        "tokenizer.ggml.add_space_prefix": SENTENCEPIECE.get(name),
    }
    metadata = ModelMetadata("golden", values)
    return Tokenizer.of_gguf(metadata, Vocabulary.of_gguf(metadata))


def differences(ours: Tokenizer, expected: dict[str, Any]) -> set[tuple[int, bool]]:
    """Indices of texts that we encode otherwise, and whether control tokens were parsed."""
    found = set()
    for index, text in enumerate(TEXTS):
        plain = expected["plain"][index]
        parsed = expected["parsed"][index] or plain
        for allow_special, ids in ((False, plain), (True, parsed)):
            if ours.encode(text, allow_special=allow_special) != ids:
                found.add((index, allow_special))
    return found


def known(name: str) -> set[tuple[int, bool]]:
    return {
        (index, allow_special)
        for model, beginning, allow_special in DIFFERENCES
        for index, text in enumerate(TEXTS)
        if name.startswith(model) and text.startswith(beginning)
    }


@pytest.mark.parametrize("name", GOLDEN["ids"])
def test_tokens_are_llama_cpps_but_where_said(name: str) -> None:
    expected = GOLDEN["ids"][name]
    if isinstance(expected, str):  # the same as another's
        name, expected = expected, GOLDEN["ids"][expected]
    assert differences(tokenizer(name), expected) == known(name)


def test_every_pre_tokenizer_has_its_golden_tokens() -> None:
    assert GOLDEN["ids"].keys() == {*PRE_TOKENIZERS, *SENTENCEPIECE}
    for name, expected in GOLDEN["ids"].items():
        if isinstance(expected, str):
            assert PRE_TOKENIZERS[name].patterns == PRE_TOKENIZERS[expected].patterns


def test_composed_text_gives_the_tokens_llama_cpp_gives_for_it() -> None:
    ours = tokenizer("qwen2")
    text = next(text for text in TEXTS if text.startswith("e\u0301 a"))
    assert ours.encode(text, allow_special=False) == ours.encode(
        unicodedata.normalize("NFC", text), allow_special=False
    )


def test_no_golden_text_becomes_a_control_token() -> None:
    for name in (*PRE_TOKENIZERS, *SENTENCEPIECE):
        ours = tokenizer(name)
        for text in TEXTS:
            assert not ours.vocabulary.control_ids & set(ours.encode(text, allow_special=False))


def test_the_built_in_model(smollm2_path: pathlib.Path) -> None:
    ours = open_text(smollm2_path).tokenizer
    (name,) = (name for name in GOLDEN["models"] if name.startswith("Smollm2"))
    assert differences(ours, GOLDEN["models"][name]) == set()


@pytest.mark.full
@pytest.mark.parametrize("name", GOLDEN["models"])
def test_a_real_model(name: str) -> None:
    """Those of the golden models that are among the models fetched to this machine."""
    for path in (Environment.read().home / "models").glob("*.gguf"):
        try:
            text = open_text(path)
        except ModelFileError:
            continue
        if text.name == name:
            assert differences(text.tokenizer, GOLDEN["models"][name]) == known(name)
            return
    pytest.skip(f"{name} is not among the models here")
