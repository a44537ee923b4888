"""An engine process whose forward pass takes no time and makes up tokens.

Started by served.py, as a server starts its engine. The first argument is the seconds a step takes, which
pass in sleep; 0 for as fast as it goes.
"""

import sys
import time
from types import SimpleNamespace

import numpy as np

from octavo.config import EngineConfig
from octavo.core.step import Masks, RowStatus, StepInput, StepOutput, Ticket
from octavo.engine.journal import Journal
from octavo.engine.process import main
from tools.engine_without_model import engine_without_model

VOCAB_SIZE = 49_152
MAX_MODEL_LEN = 8192
NUM_BLOCKS = 64_000
FIRST_TOKEN, NUM_TOKENS = 1_000, 8_000  # what is answered: plain words of the built-in model's vocabulary


class FreeBackend:
    def __init__(self, step_seconds: float) -> None:
        self._step_seconds = step_seconds
        self._step: StepInput | None = None

    def submit(self, step: StepInput) -> Ticket:
        self._step = step
        return Ticket(step.step_id)

    def collect(self, ticket: Ticket, masks: Masks | None = None) -> StepOutput:
        step = self._step
        assert step is not None
        time.sleep(self._step_seconds)
        count = len(step.output_row)
        tokens = FIRST_TOKEN + (step.output_slot * 257 + step.step_id * 31) % NUM_TOKENS
        return StepOutput(ticket.step_id, tokens, np.full(count, RowStatus.OK, np.int32), 0.01)

    def close(self) -> None:
        pass


def load(config: EngineConfig, environment: object, journal: Journal, epoch: int) -> SimpleNamespace:
    return engine_without_model(
        config,
        journal,
        epoch,
        FreeBackend(float(sys.argv[1])),
        vocab_size=VOCAB_SIZE,
        max_model_len=MAX_MODEL_LEN,
        num_blocks=NUM_BLOCKS,
    )


if __name__ == "__main__":
    main(load, sys.argv[2:])
