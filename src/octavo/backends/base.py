"""The seam below the engine: a back end turns a StepInput into a StepOutput. The engine sees no more."""

import dataclasses
from typing import Any, Protocol

from octavo.core.step import StepInput, StepOutput, Ticket
from octavo.models.program import Program, Rows


@dataclasses.dataclass(frozen=True, slots=True)
class StepLimits:
    """The largest step a back end is built for; its memory is planned from these and never grows."""

    max_num_seqs: int  # slots, and requests in one step
    max_num_batched_tokens: int  # rows in one step
    max_model_len: int  # tokens of one sequence


def workspace_bytes(program: Program, limits: StepLimits) -> int:
    """What the program's buffers take in the largest step."""
    rows = {Rows.TOKENS: limits.max_num_batched_tokens, Rows.OUTPUTS: limits.max_num_seqs}
    return sum(
        rows[buffer.rows] * buffer.rows_per_token * buffer.width * buffer.dtype.num_bytes
        for buffer in program.buffers
    )


@dataclasses.dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes by arithmetic, known before anything is allocated."""

    weight_bytes: int
    workspace_bytes: int  # activations, logits, tables
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
    def total_bytes(self) -> int:
        return self.weight_bytes + self.workspace_bytes + self.kv_bytes + self.checkpoint_bytes


class Backend(Protocol):
    """Executes steps in the order they are submitted.

    submit starts the forward pass, collect waits for it and samples; on a synchronous back end (max_in_flight
    1) the work happens inside the two calls. Blocks are zeroed when a step takes them (StepInput.new_blocks).
    """

    @property
    def max_in_flight(self) -> int: ...

    def submit(self, step: StepInput) -> Ticket: ...

    def collect(self, ticket: Ticket, masks: Any = None) -> StepOutput: ...

    def close(self) -> None: ...
