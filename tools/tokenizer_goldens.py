#!/usr/bin/env python3
"""Writes tests/golden/tokenizers.json: what llama.cpp's tokenizer makes of texts that are hard to cut.

Run it in an environment of its own, which needs llama-cpp-python, gguf, tokenizers and numpy (building
llama.cpp takes a quarter of an hour); octavo is read from src:

    python tools/tokenizer_goldens.py [MODEL.gguf ...]

The texts are those of tests/golden/tokenizer_texts.json. For every pre-tokenizer octavo knows, llama.cpp is
given a file that holds nothing but a small vocabulary and that name. The vocabulary is trained here without
cutting words first, so that its merges run across spaces, digits and line ends wherever a pre-tokenizer lets
them: a wrong cut is a wrong token. It is kept in the golden file. Of real models only token ids are kept.
"""

import json
import pathlib
import random
import sys
import tempfile

import gguf
import llama_cpp
from tokenizers import Tokenizer, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from octavo.text.pre_tokenizers import PRE_TOKENIZERS  # noqa: E402
from octavo.text.vocabulary import BYTE_ALPHABET, BYTE_NAMES, SPACE_MARK  # noqa: E402

GOLDEN = ROOT / "tests/golden/tokenizers.json"
CONTROL = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|end|>")
USER_DEFINED = ("<think>", "</think>", "    ", "\n\n\n")
NUM_MERGES = 700

TEXTS: list[str] = json.loads((ROOT / "tests/golden/tokenizer_texts.json").read_text())


@llama_cpp.llama_log_callback
def _silent(level: int, text: bytes, data: object) -> None:
    pass


class LlamaCpp:
    """llama.cpp's tokenizer, out of a GGUF file of which only the vocabulary is loaded."""

    def __init__(self, path: pathlib.Path) -> None:
        llama_cpp.llama_log_set(_silent, None)
        params = llama_cpp.llama_model_default_params()
        params.vocab_only = True
        model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        self._vocab = llama_cpp.llama_model_get_vocab(model)

    def encode(self, text: str, *, allow_special: bool) -> list[int]:
        data = text.encode()
        ids = (llama_cpp.llama_token * (len(data) + 8))()
        count = llama_cpp.llama_tokenize(self._vocab, data, len(data), ids, len(ids), False, allow_special)
        return list(ids[:count])


def train(alphabet: tuple[str, ...], space: str) -> list[tuple[str, str]]:
    """Merges learned from shuffled pieces of the texts themselves, whole lines as words."""
    rng = random.Random(1)
    pieces = [text[start : start + 24] for text in TEXTS for start in range(0, len(text), 7)]
    rng.shuffle(pieces)
    tokenizer = Tokenizer(BPE())
    if space:
        tokenizer.normalizer = normalizers.Replace(" ", space)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    size = len(alphabet) + 600 * bool(space) + NUM_MERGES
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=list(alphabet), show_progress=False)
    tokenizer.train_from_iterator(pieces, trainer)
    learned = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    forbidden = {*CONTROL, *USER_DEFINED}  # the texts hold their names, and so do merges made from them
    merges = []
    for pair in learned:
        if forbidden.isdisjoint((*pair, "".join(pair))):
            merges.append(pair)
        else:
            forbidden.add("".join(pair))
    return merges[:NUM_MERGES]


def byte_level_vocabulary(merges: list[tuple[str, str]]) -> dict[str, list]:
    tokens = [*CONTROL, *USER_DEFINED, *BYTE_ALPHABET, *dict.fromkeys(left + right for left, right in merges)]
    types = [3] * len(CONTROL) + [4] * len(USER_DEFINED)
    return {
        "tokens": tokens,
        "types": types + [1] * (len(tokens) - len(types)),
        "merges": [" ".join(pair) for pair in merges],
    }


def sentencepiece_vocabulary() -> dict[str, list]:
    """Rare characters are left out, for the bytes to stand in."""
    joined = "".join(TEXTS).replace(" ", SPACE_MARK)
    letters = sorted(letter for letter in set(joined) if joined.count(letter) > 1 and letter != "\u2028")
    known = set(letters)
    merges = [pair for pair in train((), SPACE_MARK) if known.issuperset("".join(pair))]
    words = list(dict.fromkeys(left + right for left, right in merges))
    control, user_defined = list(CONTROL), list(USER_DEFINED)
    tokens = [*control, *BYTE_NAMES, *user_defined, *words, *letters]
    types = [
        2,
        *[3] * (len(control) - 1),
        *[6] * 256,
        *[4] * len(user_defined),
        *[1] * (len(words) + len(letters)),
    ]
    return {"tokens": tokens, "types": types}


def write_gguf(path: pathlib.Path, model: str, pre: str, vocabulary: dict[str, list], **flags: bool) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("golden")
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(vocabulary["tokens"])
    writer.add_token_types(vocabulary["types"])
    if "merges" in vocabulary:
        writer.add_token_merges(vocabulary["merges"])
    else:
        writer.add_token_scores([-float(index) for index in range(len(vocabulary["tokens"]))])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, value in flags.items():
        writer.add_bool(f"tokenizer.ggml.{name}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def encodings(path: pathlib.Path) -> dict[str, list]:
    """Of every text: its ids as plain text, and with control tokens parsed where that makes a difference."""
    tokenizer = LlamaCpp(path)
    plain = [tokenizer.encode(text, allow_special=False) for text in TEXTS]
    parsed = [tokenizer.encode(text, allow_special=True) for text in TEXTS]
    return {"plain": plain, "parsed": [b if a != b else None for a, b in zip(plain, parsed, strict=True)]}


def main() -> None:
    byte_level, sentencepiece = (
        byte_level_vocabulary(train(tuple(BYTE_ALPHABET), "")),
        sentencepiece_vocabulary(),
    )
    ids: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "vocabulary.gguf"
        for name in PRE_TOKENIZERS:
            write_gguf(path, "gpt2", name, byte_level)
            found = encodings(path)
            ids[name] = next((other for other, known in ids.items() if known == found), found)
        for prefix in (False, True):
            write_gguf(path, "llama", "default", sentencepiece, add_space_prefix=prefix)
            ids[f"sentencepiece, {'with' if prefix else 'without'} prefix"] = encodings(path)
    models = {}
    for argument in sys.argv[1:]:
        reader = gguf.GGUFReader(argument)
        models[reader.fields["general.name"].contents()] = encodings(pathlib.Path(argument))
    golden = {
        "byte_level": byte_level,
        "sentencepiece": sentencepiece,
        "ids": ids,
        "models": models,
    }
    GOLDEN.write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(f"{GOLDEN}: {GOLDEN.stat().st_size} bytes")


if __name__ == "__main__":
    main()
