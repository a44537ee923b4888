"""A small vocabulary for text tests: every byte, a few merged tokens, some control tokens."""

import itertools
from typing import Any

from octavo.text.encoders import byte_level_encoder
from octavo.text.pre_tokenizers import PRE_TOKENIZERS
from octavo.text.tokenizer import Tokenizer
from octavo.text.vocabulary import BYTE_ALPHABET, Vocabulary

CONTROL = ("<|im_start|>", "<|im_end|>", "<|im_end|>x", "[PAD]")
MERGES = (("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "hello"), ("Ċ", "Ċ"), ("<", "|"))
USER_DEFINED = ("<think>",)
TOKENS = (*CONTROL, *USER_DEFINED, *BYTE_ALPHABET, *("".join(pair) for pair in MERGES))
START, END = 0, 1


def vocabulary(*, bos_id: int | None = None) -> Vocabulary:
    return Vocabulary(
        TOKENS,
        control_ids=range(len(CONTROL)),
        user_defined_ids=[len(CONTROL)],
        bos_id=bos_id,
        eos_id=END,
        end_ids=[END],
    )


def tokenizer(
    pre_tokenizer: str = "smollm", *, bos_id: int | None = None, adds_bos: bool = False
) -> Tokenizer:
    tiny = vocabulary(bos_id=bos_id)
    encoder = byte_level_encoder(tiny, MERGES, PRE_TOKENIZERS[pre_tokenizer])
    return Tokenizer(tiny, encoder, adds_bos=adds_bos)


def chunks(items: Any, cuts: list[int]) -> list[Any]:
    """items cut at the given places, which may repeat or lie beyond the end."""
    bounds = [0, *sorted(min(cut, len(items)) for cut in cuts), len(items)]
    return [items[start:end] for start, end in itertools.pairwise(bounds)]


def ids_of(*tokens: str) -> list[int]:
    return [TOKENS.index(token) for token in tokens]
