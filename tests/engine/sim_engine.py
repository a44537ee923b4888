"""The real scheduler and KV cache on the `sim` back end, as an engine process; KILLER aborts it, and so does
any grammar."""

import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

from octavo.backends.sim.backend import SimBackend, StepSeconds
from octavo.config import EngineConfig
from octavo.engine.compiling import Grammars
from octavo.engine.journal import Journal
from octavo.engine.process import main
from tests.engine.deadly import DeadlyBackend, DeadlyGrammars
from tools.engine_without_model import engine_without_model

KILLER = 999
VOCAB_SIZE = 1000
MAX_MODEL_LEN = 1024
NUM_CHECKPOINT_BLOCKS = 16
NUM_BLOCKS = 128  # so few that sixteen long streams preempt one another


def sim_loader(
    *,
    vocab_size: int,
    max_model_len: int,
    num_blocks: int,
    eos_token_ids: frozenset[int] = frozenset(),
    grammars: Grammars | None = None,
    step_seconds: StepSeconds = lambda num_tokens, num_context_tokens, num_requests: 0.001,
) -> Callable[[EngineConfig, object, Journal, int], SimpleNamespace]:
    """What octavo.engine.process.main() wants."""

    def load(config: EngineConfig, environment: object, journal: Journal, epoch: int) -> SimpleNamespace:
        backend = SimBackend(
            num_blocks=num_blocks,
            num_checkpoint_blocks=NUM_CHECKPOINT_BLOCKS,
            max_num_seqs=config.max_num_seqs,
            vocab_size=vocab_size,
            sleep=time.sleep,
            step_seconds=step_seconds,
        )
        return engine_without_model(
            config,
            journal,
            epoch,
            DeadlyBackend(backend, KILLER),
            vocab_size=vocab_size,
            max_model_len=max_model_len,
            num_blocks=num_blocks,
            num_checkpoint_blocks=NUM_CHECKPOINT_BLOCKS,
            eos_token_ids=eos_token_ids,
            grammars=grammars,
        )

    return load


if __name__ == "__main__":
    load = sim_loader(
        vocab_size=VOCAB_SIZE,
        max_model_len=MAX_MODEL_LEN,
        num_blocks=NUM_BLOCKS,
        grammars=DeadlyGrammars(),
    )
    main(load, sys.argv[2:])
