"""Requests that wait to be admitted, by priority, then arrival. Runs in the engine process."""

import heapq
import itertools

from octavo.core.request import Request


class WaitingQueue:
    """A heap; every operation is O(log n). A removed request stays in the heap until it comes to the top."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, float, int, Request]] = []
        self._entry_of: dict[str, int] = {}  # request id -> number of its valid entry
        self._counter = itertools.count()

    def __len__(self) -> int:
        return len(self._entry_of)

    def push(self, request: Request) -> None:
        assert request.request_id not in self._entry_of
        number = next(self._counter)
        self._entry_of[request.request_id] = number
        heapq.heappush(self._heap, (request.priority, request.arrival, number, request))

    def peek(self) -> Request:
        """The next request. The queue must not be empty."""
        while True:
            *_, number, request = self._heap[0]
            if self._entry_of.get(request.request_id) == number:
                return request
            heapq.heappop(self._heap)

    def pop(self) -> Request:
        request = self.peek()
        heapq.heappop(self._heap)
        del self._entry_of[request.request_id]
        return request

    def remove(self, request: Request) -> bool:
        """Returns whether the request was waiting here."""
        return self._entry_of.pop(request.request_id, None) is not None
