"""Which block holds the KV of which prefix: block hash -> block, and back.

Runs in the engine process. Holds computed, full blocks only; which of them are in use the pool knows.
"""

from octavo.core.block_hash import BlockHash
from octavo.kv.block_pool import BlockId


class PrefixCache:
    """A bijection: a hash has at most one block, a block at most one hash."""

    def __init__(self, num_blocks: int) -> None:
        self._block_of: dict[BlockHash, BlockId] = {}
        self._hash_of: list[BlockHash | None] = [None] * num_blocks

    def __len__(self) -> int:
        return len(self._block_of)

    def find(self, block_hash: BlockHash) -> BlockId | None:
        return self._block_of.get(block_hash)

    def holds(self, block: BlockId) -> bool:
        return self._hash_of[block] is not None

    def hash_of(self, block: BlockId) -> BlockHash | None:
        return self._hash_of[block]

    def insert(self, block_hash: BlockHash, block: BlockId) -> None:
        """Cache a block; when another block holds the same content already, that one stays."""
        if block_hash not in self._block_of:
            assert self._hash_of[block] is None, f"block {block} holds another prefix"
            self._block_of[block_hash] = block
            self._hash_of[block] = block_hash

    def remove(self, block: BlockId) -> BlockHash | None:
        """Forget a block; returns the hash it had."""
        block_hash = self._hash_of[block]
        if block_hash is not None:
            self._hash_of[block] = None
            del self._block_of[block_hash]
        return block_hash
