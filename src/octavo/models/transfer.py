"""What every transfer of a model needs: a folder to itself, room on the disk, a line that shows progress."""

import contextlib
import fcntl
import os
import pathlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from octavo.core.errors import ModelFileError

MIB = 1 << 20
MIN_RATED_SECONDS = 1.0  # before, a rate says little
UPDATE_SECONDS = 0.2
SPARE_BYTES = 64 * MIB  # of the disk, left free


class TransferLine:
    """Redrawn by a thread of its own while the `with` block runs, so it never stands still for long.

    measure returns the bytes that are here; note, set by whoever transfers, is shown behind the numbers.
    Not drawn at all where out is no terminal.
    """

    def __init__(self, title: str, total_bytes: int, measure: Callable[[], int], out: TextIO) -> None:
        self.note = ""
        self._title = title
        self._total = total_bytes
        self._measure = measure
        self._out = out
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "TransferLine":
        self._start = time.monotonic()
        self._first = self._measure()
        if self._out.isatty():
            self._thread = threading.Thread(target=self._redraw, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join()
        seconds = time.monotonic() - self._start
        outcome = "stopped" if kind else f"{megabytes(self._total)} in {seconds:.1f} s"
        self._out.write(f"\r\x1b[K{self._title}: {outcome}\n")
        self._out.flush()

    def _redraw(self) -> None:
        while True:
            self._out.write(f"\r\x1b[K{self.line(time.monotonic())}")
            self._out.flush()
            if self._ended.wait(UPDATE_SECONDS):
                return

    def line(self, now: float) -> str:
        """gemma3-270m:  61 %  147 of 241 MiB  18.2 MiB/s  5 s left  part 3 of 4"""
        done = min(self._measure(), self._total)
        seconds = now - self._start
        rate = (done - self._first) / seconds if seconds >= MIN_RATED_SECONDS else 0.0
        words = [f"{self._title}: {100 * done // max(self._total, 1):3} %"]
        words.append(f"{done // MIB:,} of {megabytes(self._total)}")
        if rate > 0:
            words += [f"{rate / MIB:.1f} MiB/s", f"{(self._total - done) / rate:.0f} s left"]
        text = "  ".join([*words, self.note] if self.note else words)
        return text[: shutil.get_terminal_size().columns - 1]


def megabytes(num_bytes: int) -> str:
    return f"{num_bytes / MIB:,.0f} MiB"


def require_space(folder: pathlib.Path, num_bytes: int, title: str) -> None:
    """Raises ModelFileError when the folder's disk has no room for so many bytes more."""
    free = shutil.disk_usage(folder).free
    if num_bytes + SPARE_BYTES > free:
        raise ModelFileError(
            f"{title} needs {megabytes(num_bytes)} more on the disk of {folder}, which has {megabytes(free)}"
            " free; `octavo rm` removes models, OCTAVO_HOME names another place."
        )


@contextlib.contextmanager
def locked_folder(folder: pathlib.Path, name: str, out: TextIO) -> Iterator[pathlib.Path]:
    """A folder to work in, this process's alone; it goes away in the end unless something is left in it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if out.isatty():
                print(f"another process is fetching {name}; waiting for it", file=out)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()
        os.close(descriptor)
