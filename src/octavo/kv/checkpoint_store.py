"""Evicted blocks of preempted requests in the back end's host-memory tier: block hash -> tier slot.

Runs in the engine process. Bounded; moves no bytes itself: KVManager orders the copies.
"""

from octavo.core.block_hash import BlockHash

TierSlot = int


class CheckpointStore:
    """When it is full, what was put first makes room: of a sequence that is the deepest block.

    A slot that was taken is read in the coming step, after that step's writes: recycle() makes it free again.
    """

    def __init__(self, num_slots: int) -> None:
        self._slot_of: dict[BlockHash, TierSlot] = {}  # in the order put
        self._free = list(range(num_slots - 1, -1, -1))
        self._taken: list[TierSlot] = []

    def __len__(self) -> int:
        return len(self._slot_of)

    def __contains__(self, block_hash: BlockHash) -> bool:
        return block_hash in self._slot_of

    def put(self, block_hash: BlockHash) -> TierSlot | None:
        """The slot to write a block to; None when there is no room at all."""
        assert block_hash not in self._slot_of
        if self._free:
            slot = self._free.pop()
        elif self._slot_of:
            slot = self._slot_of.pop(next(iter(self._slot_of)))
        else:
            return None
        self._slot_of[block_hash] = slot
        return slot

    def take(self, block_hash: BlockHash) -> TierSlot | None:
        """The slot to read a block from in the coming step, or None; the entry is gone."""
        slot = self._slot_of.pop(block_hash, None)
        if slot is not None:
            self._taken.append(slot)
        return slot

    def remove(self, block_hash: BlockHash) -> None:
        """Drop an entry nobody will read, if there is one."""
        slot = self._slot_of.pop(block_hash, None)
        if slot is not None:
            self._free.append(slot)

    def recycle(self) -> None:
        """A step was planned: the slots it reads may be written by the next one."""
        self._free.extend(self._taken)
        self._taken.clear()
