"""The seam below the engine: a back end turns a StepInput into a StepOutput. The engine sees no more."""

import dataclasses
from typing import Protocol

import numpy as np

from octavo.core.step import (
    NO_LOGPROBS,
    Float32Array,
    Int32Array,
    Masks,
    RowStatus,
    StepInput,
    StepLogprobs,
    StepOutput,
    Ticket,
)


@dataclasses.dataclass(frozen=True, slots=True)
class StepLimits:
    """The largest step a back end is built for; its memory is planned from these and never grows."""

    max_num_seqs: int  # slots, and requests in one step
    max_num_batched_tokens: int  # rows in one step
    max_model_len: int  # tokens of one sequence


def empty_logprobs(step: StepInput) -> StepLogprobs | None:
    """Where a back end writes a step's logprobs; None when no output wants any."""
    if not np.count_nonzero(step.num_logprobs != NO_LOGPROBS):
        return None
    num_top = int(step.num_logprobs.max())
    count = len(step.output_row)
    return StepLogprobs(
        logprob=np.zeros(count, np.float32),
        rank=np.zeros(count, np.int32),
        top_ids=np.zeros((count, num_top), np.int32),
        top_logprobs=np.zeros((count, num_top), np.float32),
    )


def draft_of(step: StepInput, output: int) -> int | None:
    """The draft that an output of kind SAMPLE follows; None: it follows its slot's last token."""
    if not output or step.output_slot[output - 1] != step.output_slot[output]:
        return None
    return int(step.token_ids[step.output_row[output]])


def pooled_status(pooled: Float32Array) -> Int32Array:
    """RowStatus of each pooled row."""
    is_finite = np.isfinite(pooled).all(axis=1)
    return np.where(is_finite, np.int32(RowStatus.OK), np.int32(RowStatus.NOT_FINITE))


@dataclasses.dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes by arithmetic, known before anything is allocated.

    Weights and workspace are resident from the load on. All else is reserved then, so that no allocation can
    fail later, and resident when first used: KV blocks, checkpoints, lists of sampling parameters. Outside of
    the plan: Python and its libraries (process_bytes in what the engine reports, measured).
    """

    weight_bytes: int
    workspace_bytes: int  # activations, logits, scratch, rotary tables, block tables
    sampling_bytes: int
    block_bytes: int
    num_blocks: int
    num_checkpoint_blocks: int

    @property
    def kv_bytes(self) -> int:
        return self.block_bytes * self.num_blocks

    @property
    def checkpoint_bytes(self) -> int:
        return self.block_bytes * self.num_checkpoint_blocks

    @property
    def resident_bytes(self) -> int:
        """When no request has come yet."""
        return self.weight_bytes + self.workspace_bytes

    @property
    def total_bytes(self) -> int:
        return self.resident_bytes + self.sampling_bytes + self.kv_bytes + self.checkpoint_bytes


class Backend(Protocol):
    """Executes steps, one at a time: each is collected before the next is submitted.

    submit starts the forward pass, collect waits for it and samples; a synchronous back end does the work
    inside the two calls. Blocks are zeroed when a step takes them (StepInput.new_blocks).
    """

    def submit(self, step: StepInput) -> Ticket: ...

    def collect(self, ticket: Ticket, masks: Masks | None = None) -> StepOutput: ...

    def close(self) -> None: ...
