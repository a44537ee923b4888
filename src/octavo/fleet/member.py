"""One process of the fleet: started, watched, started again; its lines go to whoever shows them.

It is in a process group of its own, so that a Ctrl-C reaches the supervisor only, and dies with the
supervisor. Between two starts it waits, longer each time, until it has stayed well for a while. One that is
not needed sleeps: there is no process.
"""

import asyncio
import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

COMMAND = (sys.executable, "-P", "-m", "octavo.fleet")
MAX_LINE_BYTES = 1 << 16  # a longer line is cut in two
EXIT_USER_ERROR = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds between a death and the next start: first, doubled each time, up to longest."""

    first: float = 0.2
    longest: float = 30.0
    well: float = 10.0  # ready for so long, it counts as started

    def delay(self, num_deaths: int) -> float:
        return min(self.first * 2.0 ** min(num_deaths - 1, 32), self.longest)


class Member:
    """state: new, asleep, starting, ready, unready, waiting (to be started again), stopping, ended."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        on_line: Callable[[str, str], None],
        on_change: Callable[["Member"], None],
        backoff: Backoff = Backoff(),
        command: Sequence[str] = COMMAND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """on_line gets (name, line) from a thread; on_change is called in the event loop."""
        self.name = name
        self.state = "new"
        self.reason = ""  # why it is not ready
        self.num_starts = 0
        self.exit_code: int | None = None  # of the last process; minus a signal's number
        self.last_line = ""
        self._arguments = list(arguments)
        self._environment = dict(environment)
        self._on_line = on_line
        self._on_change = on_change
        self._backoff = backoff
        self._command = command
        self._clock = clock
        self._num_deaths = 0  # since it was last well
        self._ready_since: float | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopping = False
        self._sleep_reason: str | None = None  # None: awake
        self._was_asked_to_end = False  # the process that runs
        self._called = asyncio.Event()  # there is something to look at, whatever it waits for
        self.ended = asyncio.Event()
        self.has_been_ready = False

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def run(self) -> None:
        """Until it has been asked to end, and has ended. Cancelled, it leaves no process behind."""
        try:
            while not self._is_stopping:
                if self._sleep_reason is not None:
                    self.become("asleep", self._sleep_reason)
                    await self._until_called()
                    continue
                self._was_asked_to_end = False
                await self._run_once()
                if not self._was_asked_to_end:
                    await self._wait()
        finally:
            self.kill()
            self.ended.set()
        is_told = self.state == "waiting" or self.exit_code in (None, 0, -signal.SIGTERM)
        self.become("ended", "" if is_told else self._obituary())

    async def _wait(self) -> None:
        delay = self._backoff.delay(self._num_deaths)
        self.become("waiting", f"{self._obituary()}; started again in {delay:g} s")
        await self._until_called(delay)

    async def _until_called(self, seconds: float | None = None) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._called.wait(), seconds)
        self._called.clear()

    async def _run_once(self) -> None:
        self.num_starts += 1
        try:
            process = self._spawn()
        except OSError as error:
            self.last_line, self.exit_code = str(error), None
            self._num_deaths += 1
            return
        self._process = process
        self.become("starting", "")
        ended = asyncio.get_running_loop().create_future()
        threading.Thread(
            target=self._follow, args=(process, asyncio.get_running_loop(), ended), daemon=True
        ).start()
        try:
            self.exit_code = await ended
        finally:
            if self._ready_since is not None and self._clock() - self._ready_since >= self._backoff.well:
                self._num_deaths = 0
            self._ready_since = None
            self._num_deaths += 1
        self._process = None

    def _spawn(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [*self._command, str(os.getpid()), *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment,
            process_group=0,
        )

    def _follow(
        self,
        process: "subprocess.Popen[bytes]",
        loop: asyncio.AbstractEventLoop,
        ended: "asyncio.Future[int]",
    ) -> None:
        """In a thread: hand on what the process says, to the end of all who write there; then bury it."""
        assert process.stdout is not None
        with process.stdout as output:
            while line := output.readline(MAX_LINE_BYTES):
                text = line.decode(errors="replace").rstrip()
                self.last_line = text or self.last_line
                self._on_line(self.name, text)
        code = process.wait()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, ended, code)

    def _obituary(self) -> str:
        code = self.exit_code
        if code is None:
            return f"cannot be started: {self.last_line}"
        if code < 0:
            return f"was killed by {_signal_name(-code)}"
        last_words = self.last_line.removeprefix("octavo: ").removesuffix(".")
        return f"ended with exit code {code}" + (f" ({last_words})" if last_words else "")

    def become(self, state: str, reason: str) -> None:
        if (state, reason) == (self.state, self.reason):
            return
        if state == "ready" and self._ready_since is None:
            self._ready_since = self._clock()
            self.has_been_ready = True
        self.state, self.reason = state, reason
        self._on_change(self)

    def sleep(self, reason: str) -> None:
        """Ask it to end, and start it when it is woken. Idempotent."""
        if self._sleep_reason is None:
            self._sleep_reason = reason
            self._num_deaths = 0
            self._end(reason)

    def wake(self) -> None:
        """Start it, unless it is awake."""
        self._sleep_reason = None
        if self.state == "asleep":
            self._called.set()

    def stop(self) -> None:
        """Ask it to end, and start it no more."""
        self._is_stopping = True
        self._end("")

    def _end(self, reason: str) -> None:
        self._was_asked_to_end = True
        self._called.set()
        if self._process is not None:
            self.become("stopping", reason)
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """At once; run() starts another one, unless it was stopped. Harmless to a dead one."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)


def _signal_name(number: int) -> str:
    known = {one.value: one.name for one in signal.Signals}
    return known.get(number, f"signal {number}")  # those for real time have no names


def _resolve(future: "asyncio.Future[int]", code: int) -> None:
    if not future.done():
        future.set_result(code)
