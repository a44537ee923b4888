"""One sequence being generated, as the scheduler sees it: its tokens, its progress, and how it ended."""

import dataclasses
import enum

from octavo.core.block_hash import BlockHash, extend_hashes
from octavo.core.sampling_params import SamplingParams


class RequestStatus(enum.Enum):
    WAITING = "waiting"
    RUNNING = "running"
    PREEMPTED = "preempted"  # waiting again, with work done that it will get back
    FINISHED = "finished"


class FinishReason(enum.StrEnum):
    STOP = "stop"  # an end-of-turn or stop token, or a stop string
    LENGTH = "length"  # max_tokens, or the context is full
    ABORT = "abort"  # the client is gone
    ERROR = "error"


@dataclasses.dataclass(slots=True, eq=False)
class Request:
    """The engine's state of one request; the engine process makes it of a message, the scheduler owns it.

        token_ids      [ prompt | output ]            num_tokens
        in the cache   [ num_computed_tokens ]        the scheduling rule: the 2nd catches up with the 1st

    arrival orders requests of equal priority (lower priority value first); after a crash it is the original
    one. cache_root is the root of the block hashes, None for a request that must not touch the prefix cache.
    While PREEMPTED, num_computed_tokens still says how far the lost work went.
    """

    request_id: str
    token_ids: list[int]
    num_prompt_tokens: int
    sampling: SamplingParams
    seed: int
    arrival: float
    max_total_tokens: int  # prompt + output at most: min(prompt + max_tokens, max_model_len)
    stop_ids: frozenset[int] = frozenset()  # token ids that end the answer
    priority: int = 0
    branch: int = 0
    fork_of: str | None = None  # id of the request whose prompt this one has too, and need not compute again
    cache_root: BlockHash | None = None
    status: RequestStatus = RequestStatus.WAITING
    num_computed_tokens: int = 0
    num_cached_tokens: int = 0  # prefix-cache hit at the first admission
    num_preemptions: int = 0
    is_suspect: bool = False  # shares no step with anyone until it has a token beyond those it came with
    is_probe: bool = False  # not counted in statistics
    queue_seconds: float = 0.0  # arrival to first scheduled
    prefill_seconds: float = 0.0  # first scheduled to first token
    slot: int = -1  # of the back end; -1 while it does not know the request
    block_table: list[int] = dataclasses.field(default_factory=list)  # by position, then KV group
    num_freed_blocks: list[int] = dataclasses.field(default_factory=list)  # per KV group: behind its window
    block_hashes: list[BlockHash] = dataclasses.field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def num_output_tokens(self) -> int:
        return len(self.token_ids) - self.num_prompt_tokens

    def update_block_hashes(self) -> list[BlockHash]:
        """The identities of all full blocks so far; empty for a request outside the prefix cache."""
        if self.cache_root is not None:
            extend_hashes(self.block_hashes, self.cache_root, self.token_ids)
        return self.block_hashes
