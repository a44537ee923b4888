"""KV blocks as the scheduler sees them: find a known prefix, hold a sequence's blocks, lose no computed work.

Owns the pool, the prefix cache and the checkpoint store. Runs in the engine process; knows nothing of steps.

    a block's content     computed ──commit──▶ cached ──evicted──▶ gone, or in the checkpoint store
                                                 ▲                 while a preempted request wants it
                                                 └──────admit──────────┘
"""

import dataclasses

import numpy as np

from octavo.core.block_hash import BLOCK_SIZE, BlockHash
from octavo.core.request import Request, RequestStatus
from octavo.core.step import CopyKind, Int32Array
from octavo.kv.block_pool import BlockId, BlockPool
from octavo.kv.checkpoint_store import CheckpointStore
from octavo.kv.prefix_cache import PrefixCache


@dataclasses.dataclass(frozen=True, slots=True)
class PrefixMatch:
    """How much of a waiting request's sequence need not be computed, and what its admission costs."""

    num_hit_blocks: int
    num_free_blocks_needed: int  # for the whole sequence; blocks that others hold cost nothing


class KVManager:
    """Blocks are kept in Request.block_table; those full of computed tokens are in the prefix cache.

    Without prefix caching requests do not find each other's blocks, but a preempted request still finds its
    own: each has a cache_root of its own then, shared with its forks only, and a block leaves the cache with
    the last of them that has or wants it.
    """

    def __init__(
        self, num_blocks: int, num_checkpoint_blocks: int, *, enable_prefix_caching: bool = True
    ) -> None:
        self.pool = BlockPool(num_blocks, self._save_if_wanted)
        self.prefix_cache = PrefixCache(num_blocks)
        self.checkpoints = CheckpointStore(num_checkpoint_blocks)
        self.enable_prefix_caching = enable_prefix_caching
        self._num_wanted: dict[BlockHash, int] = {}  # by how many preempted requests
        self._copies: dict[tuple[CopyKind, int], int] = {}  # (kind, destination) -> source

    @property
    def num_free_blocks(self) -> int:
        return self.pool.num_free

    @property
    def num_tokens(self) -> int:
        """The longest sequence that fits."""
        return self.pool.num_blocks * BLOCK_SIZE

    @property
    def usage(self) -> float:
        return self.pool.num_used / self.pool.num_blocks

    def match(self, request: Request, parent: Request | None = None) -> PrefixMatch:
        """What admit would find now. Changes nothing."""
        num_hit = num_held = 0
        for block_hash in self._matchable(request):
            block = self.prefix_cache.find(block_hash)
            if block is None and block_hash not in self.checkpoints:
                break
            num_hit += 1
            num_held += block is not None and self.pool.ref_count(block) > 0
        num_shared = num_shareable_tokens(request, parent) if parent is not None else 0
        if num_shared > num_hit * BLOCK_SIZE:
            num_held = num_shared // BLOCK_SIZE
        return PrefixMatch(num_hit, num_blocks_of(request.num_tokens) - num_held)

    def admit(self, request: Request, parent: Request | None = None) -> None:
        """Give a waiting request the blocks of its longest known prefix; sets num_computed_tokens to match.

        At least one token stays to be computed. What is in the checkpoint store the coming step copies back.
        parent: a running request that has computed in earlier steps what a fork can share of it.
        """
        assert not request.block_table
        num_shared = num_shareable_tokens(request, parent) if parent is not None else 0
        if parent is not None and num_shared > self.match(request).num_hit_blocks * BLOCK_SIZE:
            self._share(parent, request, num_shared)
        else:
            self._take_known_prefix(request)

    def _share(self, parent: Request, fork: Request, num_tokens: int) -> None:
        """Full blocks by reference; the partial last one is copied by the coming step, before its rows."""
        if fork.status is RequestStatus.PREEMPTED:
            self._forget_wanted(fork)
        num_full, rest = divmod(num_tokens, BLOCK_SIZE)
        for block in parent.block_table[:num_full]:
            self.pool.share(block)
            fork.block_table.append(block)
        if rest:
            fork.block_table += self.pool.acquire(1)
            self._copies[CopyKind.BLOCK_TO_BLOCK, fork.block_table[-1]] = parent.block_table[num_full]
        fork.num_computed_tokens = num_tokens

    def _take_known_prefix(self, request: Request) -> None:
        table, from_tier = request.block_table, []
        for index, block_hash in enumerate(self._matchable(request)):
            block = self.prefix_cache.find(block_hash)
            if block is not None:
                self.pool.share(block)
                table.append(block)
            elif (slot := self.checkpoints.take(block_hash)) is not None:
                table.append(-1)
                from_tier.append((index, block_hash, slot))
            else:
                break
        if request.status is RequestStatus.PREEMPTED:
            self._forget_wanted(request)
        blocks = self.pool.acquire(len(from_tier))
        for (index, block_hash, slot), block in zip(from_tier, blocks, strict=True):
            self._copies[CopyKind.TIER_TO_BLOCK, block] = slot
            self.prefix_cache.insert(block_hash, block)
            table[index] = block
        request.num_computed_tokens = len(table) * BLOCK_SIZE

    def extend(self, request: Request, num_tokens: int) -> None:
        """Append blocks until the table holds num_tokens. There must be room."""
        table = request.block_table
        table.extend(self.pool.acquire(num_blocks_of(num_tokens) - len(table)))

    def commit(self, request: Request, num_computed_tokens: int) -> None:
        """A step computed a request up to num_computed_tokens: blocks that became full can be found now."""
        first, end = request.num_computed_tokens // BLOCK_SIZE, num_computed_tokens // BLOCK_SIZE
        request.num_computed_tokens = num_computed_tokens
        if first < end and request.cache_root is not None:
            hashes = request.update_block_hashes()
            for index in range(first, end):
                self.prefix_cache.insert(hashes[index], request.block_table[index])

    def preempt(self, request: Request) -> None:
        """Take a running request's blocks; what is computed stays in the cache or the checkpoint store."""
        for block_hash in self._computed_hashes(request):
            self._num_wanted[block_hash] = self._num_wanted.get(block_hash, 0) + 1
        self._release(request)

    def free(self, request: Request, *, is_poisoned: bool = False) -> None:
        """A request has ended, running or not. If it is poisoned nobody may find any block it used."""
        if request.status is RequestStatus.PREEMPTED:
            self._forget_wanted(request)
        if is_poisoned or not self.enable_prefix_caching:
            for block in request.block_table:
                if is_poisoned or not self._has_another_owner(block):
                    self.prefix_cache.remove(block)
        self._release(request)

    def _has_another_owner(self, block: BlockId) -> bool:
        return self.pool.ref_count(block) > 1 or self.prefix_cache.hash_of(block) in self._num_wanted

    def take_copies(self) -> Int32Array:
        """[C, 3] the copies the coming step must make: CopyKind, source, destination."""
        copies = [(kind, source, destination) for (kind, destination), source in self._copies.items()]
        self._copies.clear()
        self.checkpoints.recycle()
        return np.array(copies, np.int32).reshape(-1, 3)

    def _matchable(self, request: Request) -> list[BlockHash]:
        return request.update_block_hashes()[: (request.num_tokens - 1) // BLOCK_SIZE]

    def _computed_hashes(self, request: Request) -> list[BlockHash]:
        return request.block_hashes[: request.num_computed_tokens // BLOCK_SIZE]

    def _release(self, request: Request) -> None:
        """Deepest first, so that a prefix outlives what builds on it."""
        for block in reversed(request.block_table):
            self.pool.release(block, keep=self.prefix_cache.holds(block))
        request.block_table.clear()

    def _save_if_wanted(self, block: BlockId) -> None:
        """A cached block is being taken: the step copies its content to the tier before it is overwritten."""
        block_hash = self.prefix_cache.remove(block)
        assert block_hash is not None
        if block_hash in self._num_wanted and block_hash not in self.checkpoints:
            slot = self.checkpoints.put(block_hash)
            if slot is not None:
                self._copies[CopyKind.BLOCK_TO_TIER, slot] = block

    def _forget_wanted(self, request: Request) -> None:
        for block_hash in self._computed_hashes(request):
            self._num_wanted[block_hash] -= 1
            if not self._num_wanted[block_hash]:
                del self._num_wanted[block_hash]
                self.checkpoints.remove(block_hash)


def num_shareable_tokens(fork: Request, parent: Request) -> int:
    """How much of its parent's prompt a fork need not compute: all but one token; 0 if the prompts differ."""
    num_tokens = fork.num_prompt_tokens
    if fork.cache_root is None or (num_tokens, fork.cache_root) != (
        parent.num_prompt_tokens,
        parent.cache_root,
    ):
        return 0
    num_full, rest = divmod(num_tokens, BLOCK_SIZE)
    hashes = fork.update_block_hashes()[:num_full][-1:], parent.update_block_hashes()[:num_full][-1:]
    tails = fork.token_ids[num_tokens - rest : num_tokens], parent.token_ids[num_tokens - rest : num_tokens]
    is_same = hashes[0] == hashes[1] and tails[0] == tails[1]
    return min(num_tokens, fork.num_tokens - 1) if is_same else 0


def num_blocks_of(num_tokens: int) -> int:
    return -(-num_tokens // BLOCK_SIZE)
