"""What the engine's prefix cache holds, told to routers as it changes: GET /octavo/v1/events.

Every answer begins with all there is, so one who was away, or is told too much to keep up with, begins anew.
Of which blocks a prompt consists every router is told, whichever of them has sent it.
"""

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence

import msgspec

from octavo.core.block_hash import (
    BLOCK_SIZE,
    BlockHash,
    extend_hashes,
    root_hash,
    short_hashes,
    split_short_hashes,
)
from octavo.core.messages import EngineStats
from octavo.core.relay import CacheEvent, KnownPrompt, PromptPrefix

GATHER_SECONDS = 0.02  # changes this close together share a line
SIGN_OF_LIFE_SECONDS = 1.0
MAX_PENDING = 100_000  # changes that a slow reader has still to be told
MAX_TOLD_BLOCKS = 1024  # of a prompt
MAX_PROMPT_BYTES = 8 << 20  # of all prompts that are remembered, as they are told


def known_prompt(prefix: PromptPrefix, fingerprint: str, salt: str, prompt: Sequence[int]) -> KnownPrompt:
    told = prompt[: MAX_TOLD_BLOCKS * BLOCK_SIZE]
    hashes: list[BlockHash] = []
    extend_hashes(hashes, root_hash(bytes.fromhex(fingerprint), salt=salt), told)
    num_bytes = prefix.num_bytes * len(told) // max(len(prompt), 1)
    return KnownPrompt(num_bytes, prefix.chunks, short_hashes(hashes))


class CacheMirror:
    """The same set as in the engine, by its reports, and the newest prompts. Runs in the server process."""

    def __init__(self, max_prompt_bytes: int = MAX_PROMPT_BYTES) -> None:
        self._max_prompt_bytes = max_prompt_bytes
        self._blocks: set[bytes] = set()
        self._stats = EngineStats()
        self._prompts: collections.OrderedDict[bytes, KnownPrompt] = collections.OrderedDict()  # by chunks
        self._num_prompt_bytes = 0
        self._epoch = -1
        self._readers: set[Reader] = set()

    def observe_step(self, epoch: int, stats: EngineStats) -> None:
        """A new engine begins with an empty cache."""
        self._stats = stats
        if epoch != self._epoch:
            self._epoch = epoch
            self._blocks.clear()
            for reader in self._readers:
                reader.reset()
        if stats.cached_blocks or stats.forgotten_blocks:
            stored, removed = map(split_short_hashes, (stats.cached_blocks, stats.forgotten_blocks))
            self._blocks.difference_update(removed)
            self._blocks.update(stored)
            for reader in self._readers:
                reader.add(stored, removed)

    def observe_prompt(self, prompt: KnownPrompt) -> None:
        """One has been asked. The one asked longest ago is forgotten first."""
        if self._prompts.get(prompt.chunks) == prompt:
            self._prompts.move_to_end(prompt.chunks)
            return
        old = self._prompts.pop(prompt.chunks, None)
        self._num_prompt_bytes += _size(prompt) - (0 if old is None else _size(old))
        self._prompts[prompt.chunks] = prompt
        while self._num_prompt_bytes > self._max_prompt_bytes:
            self._num_prompt_bytes -= _size(self._prompts.popitem(last=False)[1])
        for reader in self._readers:
            reader.add_prompt(prompt)

    @contextlib.contextmanager
    def reading(self) -> Iterator["Reader"]:
        reader = Reader(self._blocks, self._prompts.values())
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    async def lines(self, is_ending: Callable[[], bool]) -> AsyncIterator[bytes]:
        """CacheEvents as JSON, one a line, until is_ending."""
        with self.reading() as reader:
            while not is_ending():
                event = reader.take()
                event.num_waiting, event.kv_usage = self._stats.num_waiting, self._stats.kv_usage
                yield msgspec.json.encode(event) + b"\n"
                await reader.wait(SIGN_OF_LIFE_SECONDS)
                await asyncio.sleep(GATHER_SECONDS)


class Reader:
    """What one router has not been told yet."""

    def __init__(self, blocks: Collection[bytes], prompts: Collection[KnownPrompt]) -> None:
        """blocks, prompts: the mirror's own, as they are now."""
        self._blocks = blocks
        self._prompts = prompts
        self._pending: dict[bytes, bool] = {}  # whether it is there now
        self._pending_prompts: list[KnownPrompt] = []
        self._must_reset = True
        self._has_news = asyncio.Event()
        self._number = 0

    def reset(self) -> None:
        self._must_reset = True
        self._pending.clear()
        self._pending_prompts.clear()
        self._has_news.set()

    def add_prompt(self, prompt: KnownPrompt) -> None:
        if not self._must_reset:
            self._pending_prompts.append(prompt)
            if len(self._pending_prompts) > len(self._prompts):
                self.reset()
        self._has_news.set()

    def add(self, stored: list[bytes], removed: list[bytes]) -> None:
        if self._must_reset:
            return
        self._pending.update(dict.fromkeys(removed, False))
        self._pending.update(dict.fromkeys(stored, True))
        if len(self._pending) > MAX_PENDING:
            self.reset()
        self._has_news.set()

    async def wait(self, seconds: float) -> None:
        """For news, or until then."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._has_news.wait(), seconds)

    def take(self) -> CacheEvent:
        pending, self._pending = self._pending, {}
        prompts, self._pending_prompts = self._pending_prompts, []
        is_reset, self._must_reset = self._must_reset, False
        self._has_news.clear()
        number, self._number = self._number, self._number + 1
        if is_reset:
            return CacheEvent(number, True, b"".join(self._blocks), prompts=list(self._prompts))
        stored = b"".join([block for block, is_there in pending.items() if is_there])
        removed = b"".join([block for block, is_there in pending.items() if not is_there])
        return CacheEvent(number, False, stored, removed, prompts=prompts)


def _size(prompt: KnownPrompt) -> int:
    return len(prompt.chunks) + len(prompt.blocks)
