"""An engine process above any back end, without a model: real scheduler, KV cache, journal and frames."""

import dataclasses
from types import SimpleNamespace

from octavo.backends.base import Backend, MemoryPlan
from octavo.config import EngineConfig
from octavo.core.messages import Ready
from octavo.engine.compiling import Grammars
from octavo.engine.core import EngineCore
from octavo.engine.journal import Journal
from octavo.kv.manager import KVManager
from octavo.scheduler.scheduler import Scheduler

FINGERPRINT = b"no model"


def engine_without_model(
    config: EngineConfig,
    journal: Journal,
    epoch: int,
    backend: Backend,
    *,
    vocab_size: int,
    max_model_len: int,
    num_blocks: int,
    num_checkpoint_blocks: int = 0,
    eos_token_ids: frozenset[int] = frozenset(),
    grammars: Grammars | None = None,
) -> SimpleNamespace:
    """What octavo.engine.process.main() wants of a loader: core and ready."""
    scheduler = Scheduler(
        KVManager(num_blocks, num_checkpoint_blocks),
        max_num_seqs=config.max_num_seqs,
        max_num_batched_tokens=config.max_num_batched_tokens,
        epoch=epoch,
    )
    core = EngineCore(
        scheduler,
        backend,
        max_model_len=max_model_len,
        vocab_size=vocab_size,
        eos_token_ids=eos_token_ids,
        grammars=grammars,
        fingerprint=FINGERPRINT,
        journal=journal,
    )
    memory = MemoryPlan(0, 0, 0, 0, num_blocks, num_checkpoint_blocks)
    ready = Ready(
        epoch=epoch,
        max_model_len=max_model_len,
        vocab_size=vocab_size,
        num_blocks=num_blocks,
        memory={**dataclasses.asdict(memory), "process_bytes": 0},
        boot_seconds={},
        fingerprint=FINGERPRINT.hex(),
        threads=1,
        isa="none",
    )
    return SimpleNamespace(core=core, ready=ready)
