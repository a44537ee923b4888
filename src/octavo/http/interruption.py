"""A stretch of a task that others may end: what they raise, it raises.

As asyncio.timeout does for time alone. With many requests under way, a timer for each of them is what costs;
those that may last equally long expire in the order of their starts, so one timer serves them all.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Protocol


class Interruptible(Protocol):
    def interrupt(self, error: Exception) -> None:
        """Without effect when it is over."""
        ...


class Interruption:
    """with Interruption() as stretch: a coroutine's awaits, which stretch.interrupt(error) ends with error.

    A task that is cancelled meanwhile stays cancelled.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[object] | None = None  # while it is inside
        self._num_cancellings = 0  # of the task before
        self._error: Exception | None = None

    def interrupt(self, error: Exception) -> None:
        """Once; without effect when the stretch is over."""
        if self._task is not None and self._error is None:
            self._error = error
            self._task.cancel()

    def __enter__(self) -> "Interruption":
        task = asyncio.current_task()
        assert task is not None, "an interruption is of a task"
        self._task = task
        self._num_cancellings = task.cancelling()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._error is None:
            return
        assert task is not None
        if task.uncancel() <= self._num_cancellings and kind is asyncio.CancelledError:
            raise self._error from error


class Lifetimes:
    """Stretches that may last equally long. Runs in one event loop."""

    def __init__(self, seconds: float, error: Callable[[], Exception]) -> None:
        """error: what a stretch is interrupted with."""
        self._seconds = seconds
        self._error = error
        self._ends: dict[Interruptible, float] = {}  # on the loop's clock; the oldest first
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, stretch: Interruptible) -> None:
        loop = asyncio.get_running_loop()
        end = self._ends[stretch] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(end, self._look, loop)

    def end(self, stretch: Interruptible) -> None:
        """In time, or not."""
        self._ends.pop(stretch, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """The timer is that of a stretch which most often is over by now: then the oldest one's is next."""
        self._timer = None
        while self._ends:
            stretch, end = next(iter(self._ends.items()))
            if end > loop.time():
                self._timer = loop.call_at(end, self._look, loop)
                return
            del self._ends[stretch]
            stretch.interrupt(self._error())

    def interrupt_all(self, error: Exception) -> None:
        stretches, self._ends = self._ends, {}
        for stretch in stretches:
            stretch.interrupt(error)
