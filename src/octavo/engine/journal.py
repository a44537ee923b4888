"""Which requests the engine was computing when it died: a page of memory that outlives it.

The engine writes it before each step and marks the step's end, and notes each grammar while it is compiled;
the supervisor, in the server process, reads it. The page is an anonymous file inherited by the child, so a
crash of any kind leaves it as it was.

    state  step_id  num_new  length  |  a place for each thread that compiles: length, request id
                                     |  request ids of the step, the new ones first, separated by zero bytes
"""

import dataclasses
import mmap
import os
import struct
from collections.abc import Sequence

MAX_REQUEST_ID_BYTES = 255
MAX_COMPILING_IDS = 2  # beside the requests of a step: one for each grammar that is being compiled
_HEADER = struct.Struct("<qqqq")  # state, step_id, number of new requests, bytes of ids
_STATE = struct.Struct("<q")
_PLACE_BYTES = 1 + MAX_REQUEST_ID_BYTES
_IDS_START = _HEADER.size + MAX_COMPILING_IDS * _PLACE_BYTES
_BETWEEN_STEPS = 0
_IN_STEP = 1


@dataclasses.dataclass(frozen=True, slots=True)
class StepRecord:
    """A step that had begun and not ended, and what was being compiled. new_request_ids: those that did
    something for the first time."""

    step_id: int
    request_ids: tuple[str, ...]
    new_request_ids: tuple[str, ...]


class Journal:
    """The engine's side."""

    def __init__(self, fd: int) -> None:
        self._page = mmap.mmap(fd, os.fstat(fd).st_size)

    def record(self, step_id: int, request_ids: Sequence[str], new_request_ids: Sequence[str]) -> None:
        """A step begins. While the ids are being written the page says that no step is running."""
        self.finish()
        new = dict.fromkeys(new_request_ids)
        others = [request_id for request_id in request_ids if request_id not in new]
        ids = "\0".join((*new, *others)).encode()
        self._page[_IDS_START : _IDS_START + len(ids)] = ids
        _HEADER.pack_into(self._page, 0, _BETWEEN_STEPS, step_id, len(new), len(ids))
        _STATE.pack_into(self._page, 0, _IN_STEP)

    def finish(self) -> None:
        """The step has ended: from here on a death makes nobody of it suspect."""
        _STATE.pack_into(self._page, 0, _BETWEEN_STEPS)

    def note_compile(self, place: int, request_id: str) -> None:
        """In this place (0 to MAX_COMPILING_IDS - 1) a grammar of this request is compiled; "": of none."""
        start, data = _HEADER.size + place * _PLACE_BYTES, request_id.encode()
        self._page[start] = 0
        self._page[start + 1 : start + 1 + len(data)] = data
        self._page[start] = len(data)


class JournalReader:
    """The supervisor's side; it owns the page. One per engine process."""

    def __init__(self, max_num_seqs: int) -> None:
        self.fd = os.memfd_create("octavo-journal")
        size = _IDS_START + max_num_seqs * (MAX_REQUEST_ID_BYTES + 1)
        os.ftruncate(self.fd, size)
        self._page = mmap.mmap(self.fd, size, prot=mmap.PROT_READ)

    @property
    def step_id(self) -> int:
        """Of the last step that began: it moves while the engine makes progress."""
        return int(_HEADER.unpack_from(self._page, 0)[1])

    def running_step(self) -> StepRecord | None:
        """The step that has begun and not ended, and the compiles, which count as new in it; None if there is
        neither. Consistent only once the engine is dead."""
        state, step_id, num_new, length = _HEADER.unpack_from(self._page, 0)
        compiling = tuple(filter(None, map(self._compiling_id, range(MAX_COMPILING_IDS))))
        if state != _IN_STEP:
            return StepRecord(step_id, compiling, compiling) if compiling else None
        ids = tuple(self._page[_IDS_START : _IDS_START + length].decode().split("\0")) if length else ()
        return StepRecord(step_id, ids + compiling, ids[:num_new] + compiling)

    def _compiling_id(self, place: int) -> str:
        start = _HEADER.size + place * _PLACE_BYTES
        return self._page[start + 1 : start + 1 + self._page[start]].decode()

    def close(self) -> None:
        self._page.close()
        os.close(self.fd)
