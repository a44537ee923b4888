"""One sequence being generated, as the scheduler sees it: its tokens, its progress, and how it ended."""

import dataclasses
import enum

import numpy as np
from numpy.typing import NDArray

from octavo.core.block_hash import BlockHash, extend_hashes
from octavo.core.drafting import Drafting
from octavo.core.sampling_params import SamplingParams
from octavo.core.step import NO_LOGPROBS
from octavo.core.token_constraint import TokenConstraint


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


class Pooling(enum.StrEnum):
    """What becomes of the prompt's last hidden states in an embedding request."""

    LAST = "last"  # that of the last token
    MEAN = "mean"  # their mean over all tokens


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
    tenant: str = ""  # tenants share the engine fairly; "" is one too
    fork_of: str | None = None  # id of the request whose prompt this one has too, and need not compute again
    cache_root: BlockHash | None = None
    status: RequestStatus = RequestStatus.WAITING
    num_computed_tokens: int = 0
    num_cached_tokens: int = 0  # prefix-cache hit at the first admission
    num_preemptions: int = 0
    admission: int = 0  # the last one's number among all requests'
    is_suspect: bool = False  # shares no step with anyone until it has a token beyond those it came with
    is_probe: bool = False  # not counted in statistics
    queue_seconds: float = 0.0  # arrival to first scheduled
    prefill_seconds: float = 0.0  # first scheduled to first token
    constraint: TokenConstraint | None = None  # what may be sampled next
    drafting: Drafting | None = None  # guesses ahead
    drafts: list[int] = dataclasses.field(default_factory=list)  # guesses that the step in flight computes
    pooling: Pooling | None = None  # an embedding of the prompt instead of tokens
    num_scored_tokens: int = 1  # prompt tokens whose logprobs are known; the first one has none
    num_pooled_tokens: int = 0  # prompt tokens in hidden_sum
    hidden_sum: NDArray[np.float64] | None = None
    slot: int = -1  # of the back end; -1 while it does not know the request
    block_table: list[int] = dataclasses.field(default_factory=list)  # by position, then KV group
    num_freed_blocks: list[int] = dataclasses.field(default_factory=list)  # per KV group: behind its window
    block_hashes: list[BlockHash] = dataclasses.field(default_factory=list)

    @property
    def num_logprobs(self) -> int:
        wanted = self.sampling.logprobs
        return NO_LOGPROBS if wanted is None else wanted

    @property
    def wants_scores(self) -> bool:
        """Logprobs of prompt tokens are still missing."""
        return self.sampling.prompt_logprobs is not None and self.num_scored_tokens < self.num_prompt_tokens

    @property
    def ends_with_prompt(self) -> bool:
        """Nothing is sampled: the request ends when its prompt is computed."""
        return self.pooling is not None or self.sampling.max_tokens == 0

    @property
    def num_reusable_tokens(self) -> int:
        """How many tokens may come from the prefix cache: what rows still have to tell is not in there."""
        limit = len(self.token_ids) - 1
        if self.wants_scores:
            limit = min(limit, self.num_scored_tokens - 1)
        if self.pooling is Pooling.MEAN:
            limit = min(limit, self.num_pooled_tokens)
        return limit

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
