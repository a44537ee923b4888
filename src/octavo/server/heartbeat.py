"""A sign of life on a stream that has nothing to say yet, so that nobody between takes it for dead."""

import asyncio
from collections.abc import Awaitable, Callable

COMMENT = b": heartbeat\n\n"  # which readers of server-sent events skip


class Heartbeat:
    """Calls beat each time so many seconds have passed, from start to stop."""

    def __init__(self, beat: Callable[[], Awaitable[None]], seconds: float) -> None:
        """seconds: 0 for never."""
        self._beat = beat
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._seconds:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._pass)

    def stop(self) -> None:
        """A beat that waits for a slow reader is taken back. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _pass(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        await self._beat()
        self._task = None
        self.start()
