"""Which tokens end an answer: those a model's files name by id, and control tokens whose names say so.

Also what the engine process needs of a model's text, and all it needs: no vocabulary is built for it.
"""

import sys
from collections.abc import Mapping

from octavo.core.metadata import ModelMetadata

UNKNOWN_TYPE, CONTROL_TYPE, USER_DEFINED_TYPE = 2, 3, 4  # tokenizer.ggml.token_type, and SentencePiece's own
CONTROL_TYPES = (UNKNOWN_TYPE, CONTROL_TYPE)  # no text of a user's may become one of these

# Tokens that end an answer in one family or another. A file names some of them by id; a control token with
# such a name does so in every file that has it.
END_TOKENS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<end_of_turn>",
    "<eos>",
    "</s>",
)
_END_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")


def ends_an_answer(control_token: str) -> bool:
    return control_token in END_TOKENS


def end_ids_of_gguf(metadata: ModelMetadata, end_tokens: Mapping[str, int]) -> frozenset[int]:
    """All of them. end_tokens: those of END_TOKENS that the vocabulary holds, with their ids.

    Raises ModelFileError for an id beyond the vocabulary, unless the file gives its tokens no types.
    """
    types = metadata.integers("tokenizer.ggml.token_type", [])
    control = (i for i in end_tokens.values() if i < len(types) and types[i] in CONTROL_TYPES)
    return frozenset((*named_end_ids(metadata, len(types) or sys.maxsize), *control))


def named_end_ids(metadata: ModelMetadata, num_tokens: int) -> frozenset[int]:
    """Those the file names by id. Raises ModelFileError for an id beyond the vocabulary."""
    found = (metadata.token_id(f"tokenizer.ggml.{key}", num_tokens, None) for key in _END_KEYS)
    return frozenset(token_id for token_id in found if token_id is not None)
