"""The `sim` back end with the vocabulary of tests/fakes.py: bytes, so that its tokens have texts."""

import sys

from octavo.decoding.grammar import GrammarCompiler
from octavo.engine.process import main
from octavo.text.vocabulary import BYTE_ALPHABET, Vocabulary
from tests.engine.sim_engine import sim_loader

END_IDS = frozenset((256,))
VOCABULARY = Vocabulary([*BYTE_ALPHABET, "<end>"], control_ids=END_IDS, end_ids=END_IDS)
VOCAB_SIZE = 257
MAX_MODEL_LEN = 512
NUM_BLOCKS = 256


if __name__ == "__main__":
    load = sim_loader(
        vocab_size=VOCAB_SIZE,
        max_model_len=MAX_MODEL_LEN,
        num_blocks=NUM_BLOCKS,
        eos_token_ids=END_IDS,
        grammars=GrammarCompiler(lambda: VOCABULARY, VOCAB_SIZE, END_IDS),
    )
    main(load, sys.argv[2:])
