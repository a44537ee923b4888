"""A file of weights, mapped read-only: which file it is, and how its pages leave memory again.

Replace such files by renaming over them: a file that is cut short while it is mapped kills its readers.
"""

import contextlib
import mmap
import os
import pathlib

import xxhash

from octavo.core.errors import ModelFileError

_SAMPLES = 64  # pages of a file that tell it from another of the same size and time


class MappedFile:
    """mapping ends when nothing refers to it, or to a view into it, any more."""

    def __init__(self, path: pathlib.Path) -> None:
        """Raises ModelFileError when there is no file, when it is empty or cannot be read."""
        self.path = path
        try:
            if not path.is_file():  # opening a pipe would wait
                raise ModelFileError(f"{path}: there is no such file.")
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                self.mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise ModelFileError(f"{path}: the file is empty.") from error
        except OSError as error:
            raise ModelFileError(f"{path}: cannot be read: {error.strerror}.") from error
        self._status = f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"

    def identity(self) -> str:
        """What another content would not have: size, time of modification, inode, and, for a file that was
        written over and given its old time, a hash of pages from all over it. Reads no more than these.
        """
        num_pages = -(-len(self.mapping) // mmap.PAGESIZE)
        pages = {sample * (num_pages - 1) // (_SAMPLES - 1) for sample in range(_SAMPLES)}
        state = xxhash.xxh3_128()
        self.mapping.madvise(mmap.MADV_RANDOM)  # else each would bring its neighbours
        for page in sorted(pages):
            state.update(self.mapping[page * mmap.PAGESIZE : (page + 1) * mmap.PAGESIZE])
        self.mapping.madvise(mmap.MADV_NORMAL)
        return f"{self._status} {state.hexdigest()}"

    def drop_pages(self, *, is_read_again: bool) -> None:
        """Give the pages back: this process's, and unless the next start reads them again the system's.

        Whoever still reads the mapping gets them again.
        """
        self.mapping.madvise(mmap.MADV_DONTNEED)
        if is_read_again:
            return
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
