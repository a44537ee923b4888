"""The `sim` back end with the vocabulary of tests/fakes.py: bytes, so that its tokens have texts."""

import sys
from types import SimpleNamespace

from octavo.config import EngineConfig
from octavo.engine.journal import Journal
from octavo.engine.process import main
from tests.engine.sim_engine import load_sim

VOCAB_SIZE = 257
MAX_MODEL_LEN = 512
NUM_BLOCKS = 256


def load(config: EngineConfig, environment: object, journal: Journal, epoch: int) -> SimpleNamespace:
    return load_sim(
        config,
        journal,
        epoch,
        vocab_size=VOCAB_SIZE,
        max_model_len=MAX_MODEL_LEN,
        num_blocks=NUM_BLOCKS,
    )


if __name__ == "__main__":
    main(load, sys.argv[2:])
