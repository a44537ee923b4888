"""KV blocks as the scheduler sees them: find a known prefix, hold a sequence's blocks, lose no computed work.

Owns the pool, the prefix cache and the checkpoint store. Runs in the engine process; knows nothing of steps.

    a block's content     computed ──commit──▶ cached ──evicted──▶ gone, or in the checkpoint store
                                                 ▲                 while a preempted request wants it
                                                 └──────admit──────────┘

A model has one KV group or several; each needs a block of its own for every 16 tokens. All blocks are of one
size and come from one pool, so that memory flows to the group that needs it. In a group with a window a block
that the next token does not see, and so no later one, is given back.

    block_table   [ index 0: group 0, group 1, ... | index 1: group 0, ... ]     NO_BLOCK where given back
"""

import dataclasses

import numpy as np

from octavo.core.block_hash import BLOCK_SIZE, HASH_BYTES, BlockHash
from octavo.core.request import Request, RequestStatus
from octavo.core.step import CopyKind, Int32Array
from octavo.kv.block_pool import BlockId, BlockPool
from octavo.kv.checkpoint_store import CheckpointStore
from octavo.kv.prefix_cache import PrefixCache

NO_BLOCK = -1
UNBOUNDED_TOKENS = 1 << 30  # what fits when every group has a window


@dataclasses.dataclass(frozen=True, slots=True)
class PrefixMatch:
    """How much of a waiting request's sequence need not be computed, and what its admission costs."""

    num_hit_blocks: int  # by position: of 16 tokens each, whatever the number of groups
    num_free_blocks_needed: int  # for the whole sequence; blocks that others hold cost nothing


class KVManager:
    """Blocks are kept in Request.block_table; those full of computed tokens are in the prefix cache.

    windows: of each KV group, in tokens, the row's own included; None: a row sees all before it.
    max_num_batched_tokens: the longest chunk, which a window must hold besides.
    Without prefix caching requests do not find each other's blocks, but a preempted request still finds its
    own: each has a cache_root of its own then, shared with its forks only, and a block leaves the cache with
    the last of them that has or wants it.
    """

    def __init__(
        self,
        num_blocks: int,
        num_checkpoint_blocks: int,
        *,
        windows: tuple[int | None, ...] = (None,),
        max_num_batched_tokens: int = 1,
        enable_prefix_caching: bool = True,
    ) -> None:
        self.pool = BlockPool(num_blocks, self._save_if_wanted)
        reported = windows.index(None) if None in windows else 0
        self.prefix_cache = PrefixCache(num_blocks, lambda key: _group(key) == reported)
        self.checkpoints = CheckpointStore(num_checkpoint_blocks)
        self.enable_prefix_caching = enable_prefix_caching
        self.num_groups = len(windows)
        self._windows = windows
        self._full_groups = tuple(group for group, window in enumerate(windows) if window is None)
        self._window_groups = tuple(
            (group, window) for group, window in enumerate(windows) if window is not None
        )
        self._max_chunk = max_num_batched_tokens
        self.num_tokens = self._longest_sequence()
        """The longest sequence that fits."""
        self._num_wanted: dict[BlockHash, int] = {}  # by how many preempted requests
        self._copies: dict[tuple[CopyKind, int], int] = {}  # (kind, destination) -> source
        self._num_shares_in_windows = 0  # references to blocks of window groups beyond each one's first

    @property
    def num_free_blocks(self) -> int:
        """What requests can count on: who shares a block of a window gives back nothing when it moves on."""
        return self.pool.num_free - self._num_shares_in_windows

    def capacity_in_tokens(self, sequence_length: int) -> int:
        """How many tokens fit, in sequences of one length. With windows, long ones take less a token."""
        num_needed = max_blocks_held(self._windows, sequence_length, self._max_chunk)
        return self.pool.num_blocks * sequence_length // num_needed

    @property
    def usage(self) -> float:
        return self.pool.num_used / self.pool.num_blocks

    def match(self, request: Request, parent: Request | None = None) -> PrefixMatch:
        """What admit would find now. Changes nothing."""
        num_hit, num_held = self._find_prefix(request), 0
        num_shared = self._num_shareable(request, parent) if parent is not None else 0
        if parent is not None and num_shared > num_hit * BLOCK_SIZE:
            num_computed = num_shared
            num_held = num_shared // BLOCK_SIZE * len(self._full_groups)
        else:
            num_computed = num_hit * BLOCK_SIZE
            for block_hash in request.block_hashes[:num_hit]:
                for group in self._full_groups:
                    block = self.prefix_cache.find(_key(block_hash, group))
                    num_held += block is not None and self.pool.ref_count(block) > 0
        num_needed = max_blocks_held(self._windows, request.num_tokens, self._max_chunk, num_computed)
        return PrefixMatch(num_hit, num_needed - num_held)

    def admit(self, request: Request, parent: Request | None = None) -> None:
        """Give a waiting request the blocks of its longest known prefix; sets num_computed_tokens to match.

        At least one token stays to be computed. What is in the checkpoint store the coming step copies back.
        parent: a running request that has computed in earlier steps what a fork can share of it.
        """
        assert not request.block_table
        num_hit = self._find_prefix(request)
        num_shared = self._num_shareable(request, parent) if parent is not None else 0
        if parent is not None and num_shared > num_hit * BLOCK_SIZE:
            self._share(parent, request, num_shared)
        else:
            self._take_known_prefix(request, num_hit)

    def num_missing_blocks(self, request: Request) -> int:
        """What a running request has still to take, at most, until it is computed whole."""
        if not self._window_groups:
            return num_blocks_of(len(request.token_ids)) * self.num_groups - len(request.block_table)
        num_indices = len(request.block_table) // self.num_groups
        num_missing = 0
        for group, window in enumerate(self._windows):
            num_needed = max_blocks_held(
                (window,), len(request.token_ids), self._max_chunk, request.num_computed_tokens
            )
            num_missing += max(0, num_needed - (num_indices - request.num_freed_blocks[group]))
        return num_missing

    def extend(self, request: Request, num_tokens: int) -> None:
        """Append blocks until the table holds num_tokens. There must be room."""
        table = request.block_table
        if self._window_groups:
            self._free_behind_windows(request)
        table.extend(self.pool.acquire(num_blocks_of(num_tokens) * self.num_groups - len(table)))

    def commit(self, request: Request, num_computed_tokens: int) -> None:
        """A step computed a request up to num_computed_tokens: blocks that became full can be found now."""
        first, end = request.num_computed_tokens // BLOCK_SIZE, num_computed_tokens // BLOCK_SIZE
        request.num_computed_tokens = num_computed_tokens
        if first < end and request.cache_root is not None:
            hashes = request.update_block_hashes()
            for index in range(first, end):
                for group in range(self.num_groups):
                    block = request.block_table[index * self.num_groups + group]
                    self.prefix_cache.insert(_key(hashes[index], group), block)

    def preempt(self, request: Request) -> None:
        """Take a running request's blocks; what is computed stays in the cache or the checkpoint store."""
        for key in self._wanted_keys(request):
            self._num_wanted[key] = self._num_wanted.get(key, 0) + 1
        self._release(request)

    def free(self, request: Request, *, is_poisoned: bool = False) -> None:
        """A request has ended, running or not. If it is poisoned nobody may find any block it holds."""
        if request.status is RequestStatus.PREEMPTED:
            self._forget_wanted(request)
        if is_poisoned:
            for block in request.block_table:
                if block != NO_BLOCK:
                    self.prefix_cache.remove(block)
        self._release(request)

    def take_copies(self) -> Int32Array:
        """[C, 3] the copies the coming step must make: CopyKind, source, destination."""
        copies = [(kind, source, destination) for (kind, destination), source in self._copies.items()]
        self._copies.clear()
        self.checkpoints.recycle()
        return np.array(copies, np.int32).reshape(-1, 3)

    # Finding a prefix

    def _find_prefix(self, request: Request) -> int:
        """How many blocks by position: full groups have all of them, the others those the next token sees."""
        hashes = request.update_block_hashes()[: request.num_reusable_tokens // BLOCK_SIZE]
        num_hit = len(hashes)
        for group in self._full_groups:
            num_hit = next(
                (index for index in range(num_hit) if not self._is_known(_key(hashes[index], group))), num_hit
            )
        while True:
            last_missing = [
                self._last_missing(hashes, group, window, num_hit) for group, window in self._window_groups
            ]
            shorter = max(last_missing, default=-1)
            if shorter < 0:
                return num_hit
            num_hit = shorter  # a longer prefix would need the missing block

    def _last_missing(self, hashes: list[BlockHash], group: int, window: int, num_hit: int) -> int:
        first = first_visible_block(window, num_hit * BLOCK_SIZE)
        for index in range(num_hit - 1, first - 1, -1):
            if not self._is_known(_key(hashes[index], group)):
                return index
        return -1

    def _is_known(self, key: BlockHash) -> bool:
        return self.prefix_cache.find(key) is not None or key in self.checkpoints

    def _keys(self, hashes: list[BlockHash], num_blocks: int) -> list[tuple[int, BlockHash]]:
        """(index in a block table, identity) of what a prefix of so many blocks consists of."""
        return [
            (index * self.num_groups + group, _key(hashes[index], group))
            for group, window in enumerate(self._windows)
            for index in range(first_visible_block(window, num_blocks * BLOCK_SIZE), num_blocks)
        ]

    def _take_known_prefix(self, request: Request, num_hit: int) -> None:
        request.block_table = table = [NO_BLOCK] * (num_hit * self.num_groups)
        from_tier = []
        for at, key in self._keys(request.block_hashes, num_hit):
            block = self.prefix_cache.find(key)
            if block is not None:
                table[at] = self._hold(at, block)
            else:
                slot = self.checkpoints.take(key)
                assert slot is not None
                from_tier.append((at, key, slot))
        if request.status is RequestStatus.PREEMPTED:
            self._forget_wanted(request)
        blocks = self.pool.acquire(len(from_tier))
        for (at, key, slot), block in zip(from_tier, blocks, strict=True):
            self._copies[CopyKind.TIER_TO_BLOCK, block] = slot
            self.prefix_cache.insert(key, block)
            table[at] = block
        self._set_computed(request, num_hit * BLOCK_SIZE)

    def _set_computed(self, request: Request, num_tokens: int) -> None:
        request.num_computed_tokens = num_tokens
        request.num_freed_blocks = [first_visible_block(window, num_tokens) for window in self._windows]

    def _hold(self, at: int, block: BlockId) -> BlockId:
        """One more reference to a block, for an entry of a block table."""
        if self._windows[at % self.num_groups] is not None and self.pool.ref_count(block):
            self._num_shares_in_windows += 1
        self.pool.share(block)
        return block

    # Forks

    def _num_shareable(self, fork: Request, parent: Request) -> int:
        """num_shareable_tokens; 0 when a window has moved on over what the fork would see."""
        num_tokens = num_shareable_tokens(fork, parent)
        for group, window in self._window_groups:
            if first_visible_block(window, num_tokens) < parent.num_freed_blocks[group]:
                return 0
        return num_tokens

    def _share(self, parent: Request, fork: Request, num_tokens: int) -> None:
        """Full blocks by reference; the partial last one is copied by the coming step, before its rows."""
        if fork.status is RequestStatus.PREEMPTED:
            self._forget_wanted(fork)
        num_full, rest = divmod(num_tokens, BLOCK_SIZE)
        table = [NO_BLOCK] * (num_full * self.num_groups)
        for group, window in enumerate(self._windows):
            for index in range(first_visible_block(window, num_tokens), num_full):
                at = index * self.num_groups + group
                table[at] = self._hold(at, parent.block_table[at])
        if rest:
            sources = parent.block_table[len(table) : len(table) + self.num_groups]
            copied = self.pool.acquire(self.num_groups)
            for source, block in zip(sources, copied, strict=True):
                self._copies[CopyKind.BLOCK_TO_BLOCK, block] = source
            table += copied
        fork.block_table = table
        self._set_computed(fork, num_tokens)

    # Giving back

    def _free_behind_windows(self, request: Request) -> None:
        for group, window in self._window_groups:
            first, end = (
                request.num_freed_blocks[group],
                first_visible_block(window, request.num_computed_tokens),
            )
            for index in range(first, end):
                at = index * self.num_groups + group
                self._give_back(at, request.block_table[at])
                request.block_table[at] = NO_BLOCK
            request.num_freed_blocks[group] = max(first, end)

    def _release(self, request: Request) -> None:
        """Deepest first, so that a prefix outlives what builds on it."""
        for at in range(len(request.block_table) - 1, -1, -1):
            if request.block_table[at] != NO_BLOCK:
                self._give_back(at, request.block_table[at])
        request.block_table.clear()

    def _give_back(self, at: int, block: BlockId) -> None:
        if self._windows[at % self.num_groups] is not None and self.pool.ref_count(block) > 1:
            self._num_shares_in_windows -= 1
        if not self.enable_prefix_caching and not self._has_another_owner(block):
            self.prefix_cache.remove(block)
        self.pool.release(block, keep=self.prefix_cache.holds(block))

    def _has_another_owner(self, block: BlockId) -> bool:
        return self.pool.ref_count(block) > 1 or self.prefix_cache.hash_of(block) in self._num_wanted

    def _save_if_wanted(self, block: BlockId) -> None:
        """A cached block is being taken: the step copies its content to the tier before it is overwritten."""
        key = self.prefix_cache.remove(block)
        assert key is not None
        if key in self._num_wanted and key not in self.checkpoints:
            slot = self.checkpoints.put(key)
            if slot is not None:
                self._copies[CopyKind.BLOCK_TO_TIER, slot] = block

    def _wanted_keys(self, request: Request) -> list[BlockHash]:
        """What a preempted request needs to go on from its last full block."""
        num_full = min(request.num_computed_tokens // BLOCK_SIZE, len(request.block_hashes))
        return [key for _, key in self._keys(request.block_hashes, num_full)]

    def _forget_wanted(self, request: Request) -> None:
        for key in self._wanted_keys(request):
            self._num_wanted[key] -= 1
            if not self._num_wanted[key]:
                del self._num_wanted[key]
                self.checkpoints.remove(key)

    # Room

    def _longest_sequence(self) -> int:
        def fits(num_tokens: int) -> bool:
            return max_blocks_held(self._windows, num_tokens, self._max_chunk) <= self.pool.num_blocks

        if fits(UNBOUNDED_TOKENS):
            return UNBOUNDED_TOKENS
        longest, too_long = 0, self.pool.num_blocks + 1
        while too_long - longest > 1:
            middle = (longest + too_long) // 2
            longest, too_long = (middle, too_long) if fits(middle * BLOCK_SIZE) else (longest, middle)
        return longest * BLOCK_SIZE


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
    return min(num_tokens, fork.num_reusable_tokens) if is_same else 0


def num_blocks_of(num_tokens: int) -> int:
    return -(-num_tokens // BLOCK_SIZE)


def first_visible_block(window: int | None, num_computed: int) -> int:
    """The first block that the token at position num_computed sees. No later token sees one before it."""
    return 0 if window is None else max(0, num_computed - window + 1) // BLOCK_SIZE


def max_blocks_held(
    windows: tuple[int | None, ...], num_tokens: int, max_chunk: int, num_computed: int = 0
) -> int:
    """Blocks that a sequence holds at a time at most, while it is computed from num_computed on."""
    total = 0
    for window in windows:
        num_blocks = num_blocks_of(num_tokens) - first_visible_block(window, num_computed)
        if window is not None:
            span = window - 1 + min(max_chunk, num_tokens - num_computed)  # what a chunk sees and writes
            num_blocks = min(num_blocks, (span + BLOCK_SIZE - 2) // BLOCK_SIZE + 1)
        total += num_blocks
    return total


def _key(block_hash: BlockHash, group: int) -> BlockHash:
    """The identity of one group's block. Without more than one group it is the hash itself."""
    return block_hash + group.to_bytes() if group else block_hash


def _group(key: BlockHash) -> int:
    """The group whose block _key names."""
    return key[-1] if len(key) > HASH_BYTES else 0
