"""An engine process whose forward pass takes no time: real scheduler, KV cache and frames, made-up tokens.

Started by served.py, as a server starts its engine. The first argument is the seconds a step takes, which
pass in sleep; 0 for as fast as it goes.
"""

import sys
import time
from types import SimpleNamespace

import numpy as np

from octavo.config import EngineConfig
from octavo.core.messages import Ready
from octavo.core.step import Masks, RowStatus, StepInput, StepOutput, Ticket
from octavo.engine.core import EngineCore
from octavo.engine.journal import Journal
from octavo.engine.process import main
from octavo.kv.manager import KVManager
from octavo.scheduler.scheduler import Scheduler

VOCAB_SIZE = 49_152
MAX_MODEL_LEN = 8192
NUM_BLOCKS = 64_000
FIRST_TOKEN, NUM_TOKENS = 1_000, 8_000  # what is answered: plain words of the built-in model's vocabulary
_MEMORY = (
    "weight_bytes", "workspace_bytes", "sampling_bytes", "kv_bytes", "checkpoint_bytes", "block_bytes",
    "num_blocks", "num_checkpoint_blocks", "process_bytes", "total_bytes", "resident_bytes",
)  # fmt: skip


class FreeBackend:
    max_in_flight = 1

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
    scheduler = Scheduler(
        KVManager(NUM_BLOCKS, 0),
        max_num_seqs=config.max_num_seqs,
        max_num_batched_tokens=config.max_num_batched_tokens,
        epoch=epoch,
    )
    core = EngineCore(
        scheduler,
        FreeBackend(float(sys.argv[1])),
        max_model_len=MAX_MODEL_LEN,
        vocab_size=VOCAB_SIZE,
        eos_token_ids=frozenset(),
        fingerprint=b"free",
        journal=journal,
    )
    memory = dict.fromkeys(_MEMORY, 0)
    ready = Ready(epoch, MAX_MODEL_LEN, VOCAB_SIZE, NUM_BLOCKS, memory, {}, b"free".hex(), 1, "none")
    return SimpleNamespace(core=core, ready=ready)


if __name__ == "__main__":
    main(load, sys.argv[2:])
