"""How much of the processor a process was given of what it wanted, as Linux counts it.

So that who watches a process can tell one that hangs from one that others leave no time.
"""

import pathlib

_MIN_WANTED_NS = 10_000_000  # of less, a share says nothing: the process sleeps, is blocked, or is stopped


class CpuShare:
    def __init__(self, pid: int) -> None:
        self._tasks = pathlib.Path(f"/proc/{pid}/task")
        self._last = self._read()

    def since_last(self) -> float:
        """Since the last call: the time its threads ran, by that and the time they waited for a processor.

        In 0 to 1. 1 for a process that wanted hardly any, for one that is gone, and where the kernel does not
        tell.
        """
        now = self._read()
        ran, waited = (max(0, after - before) for after, before in zip(now, self._last, strict=True))
        self._last = now
        return ran / (ran + waited) if ran + waited >= _MIN_WANTED_NS else 1.0

    def _read(self) -> tuple[int, int]:
        """Nanoseconds that its threads ran and waited, those that live."""
        ran = waited = 0
        for path in self._tasks.glob("*/schedstat"):
            try:
                fields = path.read_text().split()
            except OSError:
                continue  # it has just ended
            ran, waited = ran + int(fields[0]), waited + int(fields[1])
        return ran, waited
