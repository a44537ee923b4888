"""Which block holds the KV of which prefix: block hash -> block, and back.

Runs in the engine process. Holds computed, full blocks only; which of them are in use the pool knows.
"""

from collections.abc import Callable

from octavo.core.block_hash import BlockHash, short_hashes
from octavo.kv.block_pool import BlockId


class PrefixCache:
    """A bijection: a hash has at most one block, a block at most one hash."""

    def __init__(self, num_blocks: int, is_reported: Callable[[BlockHash], bool] = lambda _: True) -> None:
        """is_reported: whether take_changes tells of this hash."""
        self._block_of: dict[BlockHash, BlockId] = {}
        self._hash_of: list[BlockHash | None] = [None] * num_blocks
        self._is_reported = is_reported
        self._changes: dict[BlockHash, bool] = {}  # whether it can now be found

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
            self._record(block_hash, True)

    def remove(self, block: BlockId) -> BlockHash | None:
        """Forget a block; returns the hash it had."""
        block_hash = self._hash_of[block]
        if block_hash is not None:
            self._hash_of[block] = None
            del self._block_of[block_hash]
            self._record(block_hash, False)
        return block_hash

    def _record(self, block_hash: BlockHash, is_found: bool) -> None:
        if self._is_reported(block_hash):
            self._changes[block_hash] = is_found

    def take_changes(self) -> tuple[bytes, bytes]:
        """Of what changed since the last call: what can be found now, and what not; as short_hashes."""
        changes, self._changes = self._changes, {}
        stored = short_hashes([block_hash for block_hash, is_found in changes.items() if is_found])
        return stored, short_hashes([block_hash for block_hash, is_found in changes.items() if not is_found])
