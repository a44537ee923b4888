"""Who runs, and who waits to. Runs in the engine process; knows nothing of what a step computes.

Two invariants keep memory simple. The sequences of all running requests fit together, whole: a request is
admitted only when there is room for all of its tokens, and when the running ones outgrow the cache the last
in order (lowest priority, newest) is preempted. So the first in order is never preempted and finishes,
whatever the load.
"""

import bisect
from collections.abc import Callable

from octavo.core.block_hash import BLOCK_SIZE, BlockHash
from octavo.core.messages import EngineStats
from octavo.core.request import Request, RequestStatus
from octavo.core.waiting_queue import WaitingQueue
from octavo.kv.manager import KVManager, num_shareable_tokens
from octavo.scheduler.followers import Followers
from octavo.scheduler.step_budget import StepBudget
from octavo.scheduler.trials import Trials

OUTPUT_WEIGHT = 2  # of a token in a tenant's share: an answer's cost more than a prompt's
MAX_PARTIAL_PREFILLS = 8  # beyond, a request is admitted only if a step has tokens to spare for it


class Roster:
    """Every request from add to remove.

        waiting    for their turn, for others' blocks (Followers), or for their trial (Trials)
        running    hold blocks, and a slot from their first step on

    running is in order, by priority, then arrival; the scheduler takes out who has ended, several at once.
    new_in_kind: those for whom the next step is the first of its kind: first chunk, first decode.
    """

    def __init__(
        self,
        kv: KVManager,
        budget: StepBudget,
        stats: EngineStats,
        *,
        max_num_seqs: int,
        release_slot: Callable[[Request], None],
    ) -> None:
        """stats: where admissions and preemptions are counted."""
        self.requests: dict[str, Request] = {}
        self.running: list[Request] = []
        self.trials = Trials()
        self.followers = Followers()
        self.new_in_kind: set[Request] = set()
        self._waiting = WaitingQueue[Request]()
        self._kv = kv
        self._budget = budget
        self._stats = stats
        self._max_num_seqs = max_num_seqs
        self._release_slot = release_slot
        self._num_admissions = 0

    @property
    def num_waiting(self) -> int:
        return len(self._waiting) + len(self.trials) + len(self.followers)

    @property
    def num_admissible(self) -> int:
        """So many wait for their turn, as far as there are slots."""
        return min(len(self._waiting), self._max_num_seqs - len(self.running))

    @property
    def is_all_running(self) -> bool:
        """But for those who wait for their trial."""
        return not self._waiting and not self.followers

    def add(self, request: Request) -> None:
        self.requests[request.request_id] = request
        self._enqueue(request)

    def _enqueue(self, request: Request) -> None:
        (self.trials if request.is_suspect else self._waiting).push(request)

    def make_room(self) -> int | None:
        """Preempt until the sequences of all running requests fit, the last in order first; else admit whose
        trial is due.

        Returns the blocks they have still to take; None: nobody else may be admitted.
        """
        num_missing = sum([self._kv.num_missing_blocks(request) for request in self.running])
        has_preempted = False
        while num_missing > self._kv.num_free_blocks:
            assert len(self.running) > 1, "a request alone always fits: the scheduler's add sees to it"
            request = self.running.pop()
            num_missing -= self._kv.num_missing_blocks(request)
            self._preempt(request)
            has_preempted = True
        if has_preempted:
            return None
        suspect = self.trials.next()
        if suspect is None:
            return num_missing
        if not self._has_place(suspect, num_missing):
            return None  # nobody overtakes it
        return num_missing + self._admit(self.trials.begin(), None)

    def _preempt(self, request: Request) -> None:
        self._stop(request)
        self._kv.preempt(request)
        request.status = RequestStatus.PREEMPTED
        request.num_preemptions += 1
        self._stats.num_preemptions += 1
        self._enqueue(request)

    def _has_place(self, suspect: Request, num_missing_blocks: int) -> bool:
        if len(self.running) >= self._max_num_seqs:
            return False
        return self._has_room(self._kv.match(suspect).num_free_blocks_needed + num_missing_blocks)

    def _has_room(self, num_blocks: int) -> bool:
        """Each running request may take one more block a group before it is preempted for a new one."""
        return num_blocks + len(self.running) * self._kv.num_groups <= self._kv.num_free_blocks

    def admit(self, prefills: list[Request], num_missing_blocks: int) -> None:
        """Admit in order while sequences fit whole; followers step aside. prefills, those of the running ones
        that have a prompt to compute, are extended.
        """
        num_wanted = sum([request.num_tokens - request.num_computed_tokens for request in prefills])
        while self._waiting and len(self.running) < self._max_num_seqs:
            if len(prefills) >= MAX_PARTIAL_PREFILLS and num_wanted >= self._budget.affordable_tokens(0):
                return
            request = self._waiting.peek()
            if not self._budget.has_time_for(request, self.running):
                return
            parent = self._find_parent(request)
            match = self._kv.match(request, parent)
            awaited = self._find_awaited(request, parent, match.num_hit_blocks)
            if awaited is not None:
                self.followers.park(self._waiting.pop(), awaited)
                continue
            if not self._has_room(match.num_free_blocks_needed + num_missing_blocks):
                return
            num_missing_blocks += self._admit(self._waiting.pop(), parent)
            num_wanted += request.num_tokens - request.num_computed_tokens
            prefills.append(request)

    def _find_parent(self, request: Request) -> Request | None:
        """Whose prompt a fork shares; None when it is not running: then the fork is like any request."""
        parent = self.requests.get(request.fork_of) if request.fork_of is not None else None
        if parent is None or parent.status is not RequestStatus.RUNNING:
            return None
        return parent if num_shareable_tokens(request, parent) else None

    def _find_awaited(
        self, request: Request, parent: Request | None, num_hit_blocks: int
    ) -> BlockHash | str | None:
        """What a request does better to wait for than to be admitted, if anything."""
        if parent is None:
            return self.followers.find_awaited_block(request, num_hit_blocks)
        num_wanted = num_shareable_tokens(request, parent)
        has_computed = parent.slot >= 0 and parent.num_computed_tokens >= num_wanted
        return None if has_computed else parent.request_id

    def _admit(self, request: Request, parent: Request | None) -> int:
        """Returns the blocks it has still to take."""
        num_computed_before = request.num_computed_tokens
        self._kv.admit(request, parent)
        if request.status is RequestStatus.PREEMPTED:
            self._stats.num_recomputed_tokens += max(0, num_computed_before - request.num_computed_tokens)
        else:
            self._waiting.charge(request.tenant, request.num_tokens - request.num_computed_tokens)
            request.num_cached_tokens = min(request.num_computed_tokens, request.num_prompt_tokens)
            if self._kv.enable_prefix_caching and request.cache_root is not None and parent is None:
                self._stats.prefix_cache_queries += request.num_tokens
                self._stats.prefix_cache_hits += request.num_computed_tokens
        request.status = RequestStatus.RUNNING
        request.admission = self._num_admissions
        self._num_admissions += 1
        bisect.insort(self.running, request, key=_order)
        self.followers.lead(request)
        self.new_in_kind.add(request)
        return self._kv.num_missing_blocks(request)

    def wake_followers(self, request: Request, first_block: int, end_block: int | None = None) -> None:
        """These blocks of it are computed, or will not be: who waited for one of them waits for his turn."""
        for follower in self.followers.wake(request, first_block, end_block):
            self._waiting.push(follower)

    def wake_forks(self, parent: Request) -> None:
        """Its prompt is computed, or it stops: the same for those who share all of it."""
        for fork in self.followers.wake_forks(parent):
            self._waiting.push(fork)

    def _stop(self, request: Request) -> None:
        """It runs no more: its slot is released, it leads nobody; blocks and place in running stay."""
        self._release_slot(request)
        self.new_in_kind.discard(request)
        self.trials.end(request)
        self.wake_followers(request, request.num_computed_tokens // BLOCK_SIZE)
        self.wake_forks(request)

    def leave_line(self, request: Request) -> None:
        """A waiting request waits no more."""
        queues = (self._waiting, self.trials, self.followers)
        is_found = any(queue.remove(request) for queue in queues)
        assert is_found

    def remove(self, request: Request) -> None:
        """It has ended, wherever it was, but is still in running if it was there."""
        if request.status is RequestStatus.RUNNING:
            self._stop(request)
        if request.status is not RequestStatus.WAITING:
            self._waiting.charge(request.tenant, OUTPUT_WEIGHT * request.num_output_tokens)
        del self.requests[request.request_id]


def _order(request: Request) -> tuple[int, float]:
    return request.priority, request.arrival
