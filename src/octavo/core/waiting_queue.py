"""Requests that wait to be admitted: by priority, then in turn among tenants, then by arrival.

In an engine before its batch, in a router before its replicas. Whose turn it is goes by work: each tenant has
a counter of the tokens computed for it, and the one with the least comes next. A tenant that had nothing
waiting is put level with those who have, so that nobody saves up turns. (The virtual token counter of Sheng
et al., "Fairness in Serving Large Language Models", OSDI 2024.) With one tenant the order is priority, then
arrival.
"""

import heapq
import itertools
from typing import Generic, Protocol, TypeVar

MAX_IDLE_COUNTERS = 1024


class Waiting(Protocol):
    """Lower priority comes first; arrival is on any one clock."""

    @property
    def request_id(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def priority(self) -> int: ...
    @property
    def arrival(self) -> float: ...


Item = TypeVar("Item", bound=Waiting)


class WaitingQueue(Generic[Item]):
    """A heap for each tenant. A removed request stays in its heap until it comes to the top, or until there
    are more of these than of those who wait."""

    def __init__(self) -> None:
        self._heaps: dict[str, list[tuple[int, float, int, Item]]] = {}  # by tenant; none is empty
        self._entry_of: dict[str, int] = {}  # request id -> number of its valid entry
        self._numbers = itertools.count()
        self._num_entries = 0  # in all heaps
        self._work: dict[str, int] = {}  # by tenant: tokens
        self._last_work = 0  # that of the tenant that came last
        self._next: str | None = None  # the tenant whose turn it is; None: to be found

    def __len__(self) -> int:
        return len(self._entry_of)

    def push(self, request: Item) -> None:
        assert request.request_id not in self._entry_of
        number = next(self._numbers)
        self._entry_of[request.request_id] = number
        tenant = request.tenant
        if tenant not in self._heaps:
            level = min((self._work[waiting] for waiting in self._heaps), default=self._last_work)
            self._work[tenant] = max(self._work.get(tenant, 0), level)
            self._heaps[tenant] = []
            self._forget_idle()
        heapq.heappush(self._heaps[tenant], (request.priority, request.arrival, number, request))
        self._num_entries += 1
        self._next = None

    def peek(self) -> Item:
        """The next request. The queue must not be empty."""
        if self._next is None:
            self._next = min(self._heaps, key=self._rank)
        return self._heaps[self._next][0][3]

    def pop(self) -> Item:
        request = self.peek()
        heap = self._heaps[request.tenant]
        heapq.heappop(heap)
        self._num_entries -= 1
        del self._entry_of[request.request_id]
        self._last_work = self._work[request.tenant]
        self._trim(request.tenant)
        return request

    def remove(self, request: Item) -> bool:
        """Returns whether the request was waiting here."""
        if self._entry_of.pop(request.request_id, None) is None:
            return False
        self._trim(request.tenant)
        if self._num_entries > 2 * len(self._entry_of):
            self._forget_removed()
        return True

    def charge(self, tenant: str, num_tokens: int) -> None:
        """So many are computed for the tenant."""
        self._work[tenant] = self._work.get(tenant, 0) + num_tokens
        self._next = None

    def _rank(self, tenant: str) -> tuple[int, int, float, int]:
        priority, arrival, number, _ = self._heaps[tenant][0]
        return priority, self._work[tenant], arrival, number

    def _trim(self, tenant: str) -> None:
        """The top of every heap is valid, and a tenant that waits for nothing has none."""
        heap = self._heaps[tenant]
        while heap and not self._is_valid(heap[0]):
            heapq.heappop(heap)
            self._num_entries -= 1
        if not heap:
            del self._heaps[tenant]
        self._next = None

    def _is_valid(self, entry: tuple[int, float, int, Item]) -> bool:
        return self._entry_of.get(entry[3].request_id) == entry[2]

    def _forget_removed(self) -> None:
        for heap in self._heaps.values():
            heap[:] = filter(self._is_valid, heap)
            heapq.heapify(heap)
        self._num_entries = len(self._entry_of)

    def _forget_idle(self) -> None:
        """Of tenants that wait for nothing, those with the least work will be put level sooner or later."""
        num_idle = len(self._work) - len(self._heaps)
        if num_idle > MAX_IDLE_COUNTERS:
            idle = self._work.keys() - self._heaps.keys()
            for _, tenant in sorted((self._work[tenant], tenant) for tenant in idle)[: num_idle // 2]:
                del self._work[tenant]
