"""What the engine's prefix cache holds, told to routers as it changes: GET /octavo/v1/events.

Every answer begins with all there is, so one who was away, or is told too much to keep up with, begins anew.
"""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import msgspec
from starlette.types import Message, Send

from octavo.core.block_hash import (
    BLOCK_SIZE,
    BlockHash,
    extend_hashes,
    root_hash,
    short_hashes,
    split_short_hashes,
)
from octavo.core.messages import EngineStats
from octavo.core.relay import PROMPT_BLOCKS_HEADER, CacheEvent

GATHER_SECONDS = 0.02  # changes this close together share a line
SIGN_OF_LIFE_SECONDS = 1.0
MAX_PENDING = 100_000  # changes that a slow reader has still to be told
MAX_TOLD_BLOCKS = 1024  # of a prompt: a header has to fit


def telling_blocks(send: Send, fingerprint: str, salt: str, prompt: Sequence[int]) -> Send:
    """The same, with a header of which blocks the prompt consists: a router finds them among the events."""
    hashes: list[BlockHash] = []
    root = root_hash(bytes.fromhex(fingerprint), salt=salt)
    extend_hashes(hashes, root, prompt[: MAX_TOLD_BLOCKS * BLOCK_SIZE])
    header = (PROMPT_BLOCKS_HEADER, base64.b64encode(short_hashes(hashes)))

    async def send_with_blocks(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), header]
        await send(message)

    return send_with_blocks


class CacheMirror:
    """The same set as in the engine, by its reports. Runs in the server process."""

    def __init__(self) -> None:
        self._blocks: set[bytes] = set()
        self._stats = EngineStats()
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

    @contextlib.contextmanager
    def reading(self) -> Iterator["Reader"]:
        reader = Reader(self._blocks)
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

    def __init__(self, blocks: set[bytes]) -> None:
        """blocks: the mirror's own set."""
        self._blocks = blocks
        self._pending: dict[bytes, bool] = {}  # whether it is there now
        self._must_reset = True
        self._has_news = asyncio.Event()
        self._number = 0

    def reset(self) -> None:
        self._must_reset = True
        self._pending.clear()
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
        is_reset, self._must_reset = self._must_reset, False
        self._has_news.clear()
        number, self._number = self._number, self._number + 1
        if is_reset:
            return CacheEvent(number, True, b"".join(self._blocks))
        stored = b"".join([block for block, is_there in pending.items() if is_there])
        removed = b"".join([block for block, is_there in pending.items() if not is_there])
        return CacheEvent(number, False, stored, removed)
