"""Grammars over a small vocabulary: a token for each byte, some longer ones, and two control tokens."""

import random
from collections.abc import Sequence

import numpy as np

from octavo.core.grammar_spec import GrammarKind, GrammarSpec
from octavo.core.token_constraint import TokenConstraint
from octavo.decoding.grammar import GrammarCompiler, Startable
from octavo.text.vocabulary import BYTE_ALPHABET, Vocabulary

END_ID, TOOL_ID = 256, 257  # <|im_end|> and <|tool|>
WORDS = ('{"', '":', '"}', '",', ' "', ", ", "true", "ab", "aba", "12", "<|tool|", "\u00e9")
VOCABULARY = Vocabulary(
    [
        *BYTE_ALPHABET,
        "<|im_end|>",
        "<|tool|>",
        *("".join(BYTE_ALPHABET[b] for b in w.encode()) for w in WORDS),
    ],
    control_ids=(END_ID, TOOL_ID),
    end_ids=(END_ID,),
)
VOCAB_SIZE = 1000  # as many as a model may have: the ids beyond the vocabulary stand for nothing


def new_compiler(vocab_size: int = VOCAB_SIZE, **options: int) -> GrammarCompiler:
    return GrammarCompiler(lambda: VOCABULARY, vocab_size, frozenset((END_ID,)), **options)


COMPILER = new_compiler()


def compiled(kind: str, text: str, whitespace: str | None = None) -> Startable:
    return COMPILER.compile(GrammarSpec(GrammarKind(kind), text, whitespace=whitespace))


def allowed(state: TokenConstraint, vocab_size: int = VOCAB_SIZE) -> list[int]:
    mask = np.zeros(-(-vocab_size // 32), np.uint32)
    state.fill_mask(mask)
    return np.nonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))[0].tolist()


def spell(token_ids: Sequence[int]) -> bytes:
    return b"".join(VOCABULARY.token_bytes[i] for i in token_ids)


def matches(grammar: Startable, text: str | bytes) -> bool:
    """Whether the bytes of the text may be generated one by one, and the answer may end there."""
    state = grammar.start()
    for byte in text.encode() if isinstance(text, str) else text:
        if byte not in allowed(state):
            return False
        state.advance([byte])
    return END_ID in allowed(state)


def walk(grammar: Startable, seed: int, max_tokens: int = 60) -> list[int]:
    """Tokens at random of those that may come, to the end, or so many."""
    rng, state, tokens = random.Random(seed), grammar.start(), []
    while len(tokens) < max_tokens and not state.is_finished:
        tokens.append(rng.choice(allowed(state)))
        state.advance(tokens[-1:])
    return tokens
