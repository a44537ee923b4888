"""The engine's KV blocks by number: which are in use, and in what order the others are taken.

Runs in the engine process. Knows nothing of tokens, hashes or requests.
"""

from collections.abc import Callable

BlockId = int


class BlockPool:
    """Reference counts, and an intrusive doubly linked free list over preallocated lists. Not thread-safe.

        in use      ref_count > 0, on no list
        cached      ref_count == 0, content valid, on the free list (least recently used first)
        empty       ref_count == 0, content invalid, on the free list (ahead of every cached block)

    on_evict is called with each cached block that is taken, before it is handed out.
    """

    def __init__(self, num_blocks: int, on_evict: Callable[[BlockId], None]) -> None:
        self.num_blocks = num_blocks
        self.num_free = num_blocks  # empty and cached
        self.num_cached = 0
        self._on_evict = on_evict
        self._ref_count = [0] * num_blocks
        self._is_cached = bytearray(num_blocks)
        # A ring through the free blocks; index num_blocks is its head: next is taken first, previous last.
        self._head = num_blocks
        self._next = [*range(1, num_blocks + 1), 0]
        self._previous = [num_blocks, *range(num_blocks)]

    @property
    def num_used(self) -> int:
        return self.num_blocks - self.num_free

    def ref_count(self, block: BlockId) -> int:
        return self._ref_count[block]

    def acquire(self, count: int) -> list[BlockId]:
        """Take count blocks, one reference each. The caller has checked num_free."""
        assert count <= self.num_free, f"{count} blocks wanted, {self.num_free} are free"
        taken = []
        for _ in range(count):
            block = self._next[self._head]
            self._unlink(block)
            self._ref_count[block] = 1
            if self._is_cached[block]:
                self._is_cached[block] = False
                self.num_cached -= 1
                self._on_evict(block)
            taken.append(block)
        return taken

    def share(self, block: BlockId) -> None:
        """Take one more reference to a block that is in use or cached."""
        if self._ref_count[block] == 0:
            assert self._is_cached[block], f"block {block} is empty"
            self._unlink(block)
            self._is_cached[block] = False
            self.num_cached -= 1
        self._ref_count[block] += 1

    def release(self, block: BlockId, *, keep: bool) -> None:
        """Give one reference back. With the last one the block is free: cached if keep, else empty."""
        assert self._ref_count[block] > 0, f"block {block} is free already"
        self._ref_count[block] -= 1
        if self._ref_count[block]:
            return
        if keep:
            self._is_cached[block] = True
            self.num_cached += 1
        self._link(block, self._previous[self._head] if keep else self._head)

    def _link(self, block: BlockId, after: int) -> None:
        before = self._next[after]
        self._next[after] = self._previous[before] = block
        self._previous[block], self._next[block] = after, before
        self.num_free += 1

    def _unlink(self, block: BlockId) -> None:
        after, before = self._previous[block], self._next[block]
        self._next[after], self._previous[before] = before, after
        self.num_free -= 1
