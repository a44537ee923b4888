"""The only contract between scheduling and computing: what a step is asked to do, and what comes back.

All arrays are NumPy, structure of arrays; no tensor type crosses it. Per-request state (token history,
sampler, block tables) lives in the back end in slots; a step sends changes, not everything again.

Blocks of all KV groups are of one size and numbered together: a block belongs to one group at a time. In a
group with a window a block that a request's first row in a step does not see is not read any more, and may
have another owner in that step.

Within one step the order is: released, admitted, copies BLOCK_TO_TIER, copies BLOCK_TO_BLOCK, new_blocks,
copies TIER_TO_BLOCK, forward pass. A new block whose first position (16 * index) is not below its request's
num_computed is fresh and is zeroed; one below it already holds computed tokens (a prefix hit, copied from
another block, or about to be copied back from the tier) and is left alone. What a copied block holds from
num_computed on belongs to another sequence: it is overwritten before it is seen.
"""

import dataclasses
import enum

import numpy as np
from numpy.typing import NDArray

from octavo.core.sampling_params import SamplingParams

Int32Array = NDArray[np.int32]
Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
Masks = NDArray[
    np.uint32
]  # [M, ceil(vocab / 32)]: bit t % 32 of word t // 32 says whether token t is allowed

LAST_SAMPLED = -1  # in StepInput.token_ids: the token this slot sampled last
NO_LOGPROBS = -1  # in StepInput.num_logprobs
NO_MASK = -1  # in StepInput.mask_row


class OutputKind(enum.IntEnum):
    """What is wanted of an output row."""

    SAMPLE = 0  # choose the next token with the slot's sampling parameters
    SCORE = 1  # report the log probability of a given token, the row's target
    POOL = 2  # report the row's last hidden state, after the final norm


class StepPhase(enum.IntEnum):
    """What a back end's time goes into. Waiting for other threads counts to the phase that is waited for."""

    LINEAR = 0  # linear layers, the head among them
    ATTENTION = 1
    ROWS = 2  # all else on the forward pass: norms, rotary embedding, activations, writing K and V
    SAMPLING = 3
    CHANGES = 4  # slots taken, blocks cleared and copied, before the forward pass


class CopyKind(enum.IntEnum):
    """From where to where a KV block is copied. A tier is the back end's checkpoint store in host memory."""

    BLOCK_TO_TIER = 0
    TIER_TO_BLOCK = 1
    BLOCK_TO_BLOCK = 2  # copy-on-write: the partial last block of a prompt that a fork shares


class RowStatus(enum.IntEnum):
    OK = 0
    NOT_FINITE = 1  # the row's logits hold NaN or Inf: its request fails, its blocks must not be cached
    NO_TOKEN = 2  # masks, allowed ids and bad words leave no token to sample: its request fails
    NOT_SAMPLED = 3  # a draft before the row, or the row's own, was wrong; or the row has nothing to sample


@dataclasses.dataclass(frozen=True, slots=True)
class Admission:
    """A request takes a slot. Sent again, with all tokens so far, after a preemption or a crash.

    suppressed_token_ids are not sampled before position prompt_length + sampling.min_tokens.
    branch tells apart the choices of one request and enters the Gumbel noise with seed.
    """

    slot: int
    token_ids: Int32Array  # [num_tokens], prompt first
    prompt_length: int
    sampling: SamplingParams
    seed: int
    branch: int = 0
    suppressed_token_ids: tuple[int, ...] = ()


@dataclasses.dataclass(slots=True)
class StepInput:
    """One step. R requests compute T tokens and S of those rows produce an output.

    Request r computes rows query_start[r] to query_start[r+1] at positions num_computed[r], num_computed[r] +
    1, ... The token sampled from a row at position p is at position p + 1.

    Outputs lie by kind: all of SAMPLE, then SCORE, then POOL, as many as there are rows. A slot's outputs of
    kind SAMPLE, of consecutive rows, lie together, at most as many in all as there are slots. The first one's
    row is that of the slot's last token; those after it compute drafts, guesses of what follows. A token is
    sampled after each as long as the ones before it were right; the rest is NOT_SAMPLED.
    The back end computes logits for a bounded number of rows at a time, never for all. A slot's penalties and
    bad words follow what it was admitted with and has sampled since; SCORE does not touch them.
    """

    step_id: int
    epoch: int
    admitted: tuple[Admission, ...]
    released: Int32Array  # [slots] whose request ended or was preempted
    copies: Int32Array  # [C, 3] CopyKind, source, destination
    new_blocks: Int32Array  # [N, 4] slot, KV group, index in the block table, block
    slot: Int32Array  # [R]
    query_start: Int32Array  # [R + 1]
    num_computed: Int32Array  # [R] tokens already in the KV cache
    token_ids: Int32Array  # [T]
    output_row: Int32Array  # [S] row in [0, T)
    output_slot: Int32Array  # [S]
    output_kind: Int32Array  # [S] OutputKind
    target: Int32Array  # [S] SCORE: the token to score; else -1
    num_logprobs: Int32Array  # [S] SAMPLE, SCORE: how many most probable tokens to report, or NO_LOGPROBS
    mask_row: Int32Array  # [S] SAMPLE: row of the masks given to collect, or NO_MASK

    @property
    def num_requests(self) -> int:
        return len(self.slot)

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)


@dataclasses.dataclass(slots=True)
class StepLogprobs:
    """Of the raw logits, in the order of the outputs; K is the largest num_logprobs of the step.

    The rank of a token is 1 + the number of tokens that are more probable, or as probable and of a lower id.
    Rows that asked for fewer than K are valid that far; rows that did not ask hold anything.
    """

    logprob: Float32Array  # [S] of the sampled token, or of the target
    rank: Int32Array  # [S]
    top_ids: Int32Array  # [S, K] by rank
    top_logprobs: Float32Array  # [S, K]


@dataclasses.dataclass(slots=True)
class StepOutput:
    """What a step produced, in the order of StepInput.output_row; seconds is the back end's own time."""

    step_id: int
    token: Int32Array  # [S] SAMPLE: the chosen one, SCORE: the target, else 0; 0 where status is not OK
    status: Int32Array  # [S] RowStatus
    seconds: float
    logprobs: StepLogprobs | None = None  # None when no row asked
    pooled: Float32Array | None = None  # [outputs of kind POOL, hidden size]; None when there are none
    phase_seconds: Float64Array | None = None  # [StepPhase] parts of seconds; None where nobody measures


@dataclasses.dataclass(frozen=True, slots=True)
class Ticket:
    """A submitted step whose output is still to be collected."""

    step_id: int
