"""Model directories with the tokenizers of today's families, made small by the `tokenizers` library."""

import json
import pathlib
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from octavo.text.encoders import merges_of_scores
from octavo.text.vocabulary import BYTE_ALPHABET, BYTE_NAMES
from tests.text import tiny_sentencepiece, tiny_text

TEMPLATE = "{% for m in messages %}{{ bos_token }}{{ m['content'] }}{{ eos_token }}{% endfor %}"


def llama3() -> Tokenizer:
    tokens = [*BYTE_ALPHABET, *("".join(pair) for pair in tiny_text.MERGES)]
    vocabulary = {token: token_id for token_id, token in enumerate(tokens)}
    library = Tokenizer(BPE(vocabulary, list(tiny_text.MERGES), ignore_merges=True))
    words = pre_tokenizers.Split(
        Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|\s+|[^\s\p{L}\p{N}]+"), "isolated"
    )
    library.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(False, use_regex=False)])
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens(["<s>", "</s>", "<|eot_id|>"])
    library.add_tokens(["<think>"])
    begin = ("<s>", library.token_to_id("<s>"))
    library.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[begin])
    return library


def _sentencepiece() -> Tokenizer:
    tiny = tiny_sentencepiece
    control = (*tiny.CONTROL, *BYTE_NAMES, *tiny.USER_DEFINED)
    scores = {
        token: score for token, score in zip(tiny.TOKENS, tiny.SCORES, strict=True) if token not in control
    }
    vocabulary = {token: token_id for token_id, token in enumerate(tiny.TOKENS)}
    model = BPE(vocabulary, merges_of_scores(scores), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    library = Tokenizer(model)
    library.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    library.add_special_tokens([AddedToken(token, normalized=False) for token in tiny.CONTROL])
    return library


def llama2() -> Tokenizer:
    """Every text between special tokens begins with a space."""
    library = _sentencepiece()
    library.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return library


def mistral() -> Tokenizer:
    """Only the first text begins with a space."""
    library = _sentencepiece()
    library.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    return library


def gemma() -> Tokenizer:
    library = _sentencepiece()
    library.normalizer = normalizers.Replace(" ", "▁")
    library.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    library.add_tokens([AddedToken("  ", normalized=False)])
    return library


def phi3() -> Tokenizer:
    """Special tokens swallow the white space around them."""
    library = llama2()
    library.add_special_tokens(
        [
            AddedToken("<|user|>", rstrip=True, normalized=False),
            AddedToken("<mask>", lstrip=True, normalized=False),
        ]
    )
    return library


KINDS = {"llama3": llama3, "llama2": llama2, "mistral": mistral, "gemma": gemma, "phi3": phi3}


def write(path: pathlib.Path, library: Tokenizer, **config: Any) -> pathlib.Path:
    """config: entries of tokenizer_config.json."""
    library.save(str(path / "tokenizer.json"))
    entries = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": TEMPLATE, **config}
    (path / "tokenizer_config.json").write_text(json.dumps(entries))
    return path
