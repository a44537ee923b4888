"""Weights as a back end reads them, kept in OCTAVO_HOME/repacked from one start to the next.

A start that finds its file maps it instead of packing the weights again, and engines of one host that map the
same file share its memory. Whoever packs says what the bytes depend on (the key); a file that is damaged, cut
short or foreign is not found, whatever is wrong with it. Knows no layout and no model.
"""

import contextlib
import dataclasses
import errno
import json
import mmap
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import xxhash

from octavo.weights.formats import Bytes

FOLDER_NAME = "repacked"
MAX_FOLDER_BYTES = 16 << 30
MAX_FILES_PER_SOURCE = 2  # two installations of octavo may take turns
MIN_FREE_BYTES = 2 << 30  # left on the disk
MIN_BYTES = 16 << 20  # less is packed as fast as it is found

_SUFFIX, _UNFINISHED = ".weights", ".part"
_HEADER_BYTES = 1 << 14  # whole pages; a path takes 4096 bytes at most
_STALE_SECONDS = 3600.0  # after which a file that nobody finished is removed


@dataclasses.dataclass(frozen=True, slots=True)
class Repacked:
    """data is mapped read-only; fingerprint is that of the model."""

    data: Bytes
    fingerprint: str


@dataclasses.dataclass(frozen=True, slots=True)
class KeptFile:
    """source is the model file or directory that the weights come from."""

    path: pathlib.Path
    source: str
    num_bytes: int
    last_used: float


def repacked_key(fields: Iterable[bytes]) -> str:
    """Hex, for everything the packed bytes and the fingerprint depend on."""
    state = xxhash.xxh3_128()
    for field in fields:
        state.update(len(field).to_bytes(8, "little") + field)
    return state.hexdigest()


class RepackedFiles:
    """The folder. Files are whole or not there: they are written under another name and linked into place.

    A file is not forced to the disk: one that a power cut has torn fails its checksum, and is written anew.
    """

    def __init__(
        self, folder: pathlib.Path, *, limit: int = MAX_FOLDER_BYTES, minimum: int = MIN_BYTES
    ) -> None:
        self.folder = folder
        self._limit = limit
        self._minimum = minimum

    @classmethod
    def of_home(cls, home: pathlib.Path) -> "RepackedFiles":
        return cls(home / FOLDER_NAME)

    def is_worthwhile(self, num_bytes: int) -> bool:
        return num_bytes >= self._minimum

    def find(self, key: str, num_bytes: int) -> Repacked | None:
        """The weights kept under a key, checked against their checksum; None when they are not there."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):
            return None
        header = _header(mapping[:_HEADER_BYTES])
        data = np.frombuffer(mapping, np.uint8)[_HEADER_BYTES:]
        if header.get("key") != key or len(data) != num_bytes:
            return None
        mapping.madvise(mmap.MADV_WILLNEED)
        if header.pop("checksum", None) != _checksum(header, data):
            return None
        with contextlib.suppress(OSError):  # the order in which files are given up
            os.utime(path)
        return Repacked(data, str(header.get("fingerprint")))

    def keep(self, key: str, data: Bytes, *, fingerprint: str, source: pathlib.Path) -> None:
        """Write a file, making room for it. Raises OSError: no room, no permission."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._make_room(data.nbytes + _HEADER_BYTES, str(source))
        header = {"key": key, "fingerprint": fingerprint, "source": str(source), "num_bytes": data.nbytes}
        header["checksum"] = _checksum(header, data)
        descriptor, name = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=_UNFINISHED)
        part = pathlib.Path(name)
        try:
            with open(descriptor, "wb") as file:
                file.write(json.dumps(header).encode().ljust(_HEADER_BYTES))
                file.write(data.data)
            self._publish(part, key, data.nbytes)
        finally:
            part.unlink(missing_ok=True)

    def files(self) -> list[KeptFile]:
        """The last used first. Other files in the folder are none of ours."""
        found = []
        for path in self.folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(OSError):  # removed by another process meanwhile
                status = path.stat()
                with path.open("rb") as file:
                    source = str(_header(file.read(_HEADER_BYTES)).get("source", ""))
                found.append(KeptFile(path, source, status.st_size, status.st_mtime))
        return sorted(found, key=lambda file: -file.last_used)

    def remove_of(self, sources: Iterable[pathlib.Path]) -> int:
        """Remove what came from model files or directories, or from files in them; the bytes that were freed.

        An engine that has a removed file mapped keeps it."""
        freed = 0
        wanted = {path for source in sources for path in (source, *source.parents)}
        for file in self.files():
            if pathlib.Path(file.source) in wanted:
                freed += file.num_bytes
                file.path.unlink(missing_ok=True)
        return freed

    def _publish(self, part: pathlib.Path, key: str, num_bytes: int) -> None:
        """Under the key, unless another engine was first: then its file stays, so that both map the same."""
        path = self._path(key)
        try:
            os.link(part, path)
        except FileExistsError:
            if self.find(key, num_bytes) is None:
                part.replace(path)
        except OSError:  # a file system without links
            part.replace(path)

    def _make_room(self, num_bytes: int, source: str) -> None:
        """Give up what is stale, then what was used longest ago."""
        for part in self.folder.glob(f".*{_UNFINISHED}"):
            with contextlib.suppress(OSError):
                if time.time() - part.stat().st_mtime > _STALE_SECONDS:
                    part.unlink()
        total, of_source = num_bytes, {source: 1}
        for file in self.files():
            of_source[file.source] = of_source.get(file.source, 0) + 1
            total += file.num_bytes
            is_orphan = not os.path.exists(file.source)
            if is_orphan or of_source[file.source] > MAX_FILES_PER_SOURCE or total > self._limit:
                total -= file.num_bytes
                file.path.unlink(missing_ok=True)
        if num_bytes > self._limit:
            reason = f"they take more than {self._limit >> 30} GiB, the bound of the folder"
            raise OSError(errno.EFBIG, reason)
        if shutil.disk_usage(self.folder).free < num_bytes + MIN_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _path(self, key: str) -> pathlib.Path:
        return self.folder / f"{key}{_SUFFIX}"


def _header(data: bytes) -> dict[str, Any]:
    """Empty when it is none."""
    try:
        header = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}


def _checksum(header: dict[str, Any], data: Bytes) -> str:
    state = xxhash.xxh3_128(json.dumps(header, sort_keys=True).encode())
    state.update(data.data)
    return state.hexdigest()
