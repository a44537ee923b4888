"""Filling in the middle: the tokens between which some models expect what stands before and after a gap.

Bavarian et al., "Efficient training of language models to fill in the middle", 2022: prefix, suffix, middle.
"""

from collections.abc import Mapping
from typing import NamedTuple

from octavo.core.metadata import ModelMetadata

# In the order they stand in a prompt; families name them differently.
_NAMES = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen2.5-Coder, CodeGemma
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder, Granite
    ("<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>"),  # DeepSeek
    ("\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>"),  # Code Llama
)
_KEYS = (
    ("fim_pre_token_id", "fim_suf_token_id", "fim_mid_token_id"),
    ("prefix_token_id", "suffix_token_id", "middle_token_id"),  # in older files
)


class InfillTokens(NamedTuple):
    """Ids; a prompt is: prefix, the text before the gap, suffix, the text after it, middle."""

    prefix: int
    suffix: int
    middle: int


def infill_of_names(ids: Mapping[str, int]) -> InfillTokens | None:
    """ids by token, of a whole vocabulary."""
    return next((InfillTokens(*map(ids.__getitem__, n)) for n in _NAMES if ids.keys() >= set(n)), None)


def infill_of_gguf(metadata: ModelMetadata, num_tokens: int) -> InfillTokens | None:
    """What the file names by id. Raises ModelFileError for an id beyond the vocabulary."""
    for keys in _KEYS:
        found = [metadata.token_id(f"tokenizer.ggml.{key}", num_tokens, None) for key in keys]
        known = [token_id for token_id in found if token_id is not None]
        if len(known) == len(keys):
            return InfillTokens(*known)
    return None
