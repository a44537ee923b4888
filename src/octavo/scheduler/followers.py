"""Requests that share a prefix and arrive together compute it once: followers wait for their leader's blocks.

Runs in the engine process. A leader is a running request; those of its blocks that are not computed yet are
underway. A follower is parked on the deepest block underway that it can use, so that it is woken once. A fork
follows its parent, and is parked on the parent itself: it can use the whole prompt.
"""

from collections.abc import Sequence

from octavo.core.block_hash import BLOCK_SIZE, BlockHash
from octavo.core.request import Request


class Followers:
    def __init__(self) -> None:
        self._leader_of: dict[BlockHash, str] = {}  # block underway -> request id
        self._parked: dict[BlockHash | str, dict[str, Request]] = {}  # by block, or id of the parent
        self._parked_on: dict[str, BlockHash | str] = {}

    def __len__(self) -> int:
        return len(self._parked_on)

    def find_awaited_block(self, request: Request, num_hit_blocks: int) -> BlockHash | None:
        """The block that a request with a prefix hit of so many blocks does better to wait for, if any."""
        awaited = None
        for block_hash in request.block_hashes[num_hit_blocks : request.num_reusable_tokens // BLOCK_SIZE]:
            if block_hash not in self._leader_of:
                break
            awaited = block_hash
        return awaited

    def park(self, request: Request, awaited: BlockHash | str) -> None:
        """awaited: a block underway, or the id of the running request that this one is a fork of."""
        self._parked.setdefault(awaited, {})[request.request_id] = request
        self._parked_on[request.request_id] = awaited

    def remove(self, request: Request) -> bool:
        """Returns whether the request was parked here."""
        awaited = self._parked_on.pop(request.request_id, None)
        if awaited is None:
            return False
        del self._parked[awaited][request.request_id]
        return True

    def lead(self, request: Request) -> None:
        """A request was admitted: the full blocks it has still to compute are underway."""
        for block_hash in request.block_hashes[request.num_computed_tokens // BLOCK_SIZE :]:
            self._leader_of.setdefault(block_hash, request.request_id)

    def wake(self, request: Request, first_block: int, end_block: int | None = None) -> Sequence[Request]:
        """Blocks of a leader are computed, or, when it stops leading, will not be: whom that concerns."""
        woken: list[Request] = []
        for block_hash in request.block_hashes[first_block:end_block]:
            if self._leader_of.get(block_hash) == request.request_id:
                del self._leader_of[block_hash]
                woken.extend(self._parked.pop(block_hash, {}).values())
        return self._unparked(woken)

    def wake_forks(self, parent: Request) -> Sequence[Request]:
        """A parent has computed its prompt, or stops running."""
        return self._unparked(list(self._parked.pop(parent.request_id, {}).values()))

    def _unparked(self, woken: list[Request]) -> list[Request]:
        for follower in woken:
            del self._parked_on[follower.request_id]
        return woken
