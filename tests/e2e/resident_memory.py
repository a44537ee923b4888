"""Loads an engine, uses all its KV memory, and prints as JSON what was planned and what is resident.

A process of its own: python -m tests.e2e.resident_memory MODEL KV_BYTES
"""

import json
import sys

import numpy as np

from octavo.config import EngineConfig, Environment
from octavo.core.block_hash import BLOCK_SIZE
from octavo.core.sampling_params import SamplingParams
from octavo.core.step import NO_LOGPROBS, NO_MASK, Admission, CopyKind, OutputKind, StepInput
from octavo.engine.loader import LoadedEngine, load_engine
from octavo.engine.resources import resident_bytes


def use_every_block(engine: LoadedEngine) -> None:
    """A step of one token for each of so many requests that together they take, and clear, all blocks; each
    block of the checkpoint store is written."""
    ready = engine.ready
    per_slot = ready.max_model_len // BLOCK_SIZE
    blocks = np.arange(ready.num_blocks, dtype=np.int32)
    slots = np.arange(-(-ready.num_blocks // per_slot), dtype=np.int32)
    new_blocks = np.stack((blocks // per_slot, 0 * blocks, blocks % per_slot, blocks), axis=1)
    stored = np.arange(ready.memory["num_checkpoint_blocks"], dtype=np.int32)
    copies = np.stack((np.full_like(stored, CopyKind.BLOCK_TO_TIER), stored, stored), axis=1)
    token = np.zeros(1, np.int32)
    admitted = tuple(Admission(slot, token, 1, SamplingParams(temperature=0), 0) for slot in slots.tolist())
    zeros, starts = np.zeros_like(slots), np.arange(len(slots) + 1, dtype=np.int32)
    step = StepInput(
        0, 0, admitted, zeros[:0], copies, new_blocks, slots, starts, zeros, zeros, slots, slots,
        np.full_like(slots, OutputKind.SAMPLE), zeros - 1, zeros + NO_LOGPROBS, zeros + NO_MASK,
    )  # fmt: skip
    backend = engine.core._backend
    assert (backend.collect(backend.submit(step)).status == 0).all()


def main() -> None:
    engine = load_engine(
        EngineConfig(model=sys.argv[1], kv_cache_memory=int(sys.argv[2])), Environment.read()
    )
    memory = engine.ready.memory
    loaded = resident_bytes()
    use_every_block(engine)
    print(json.dumps({"plan": memory, "loaded": loaded, "used": resident_bytes()}))


if __name__ == "__main__":
    main()
