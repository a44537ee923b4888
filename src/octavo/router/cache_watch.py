"""Follows what octavo replicas say of their KV caches: one connection to each, as long as it serves."""

import asyncio

import msgspec

from octavo.core.block_hash import split_short_hashes
from octavo.core.relay import EVENTS_PATH, SECRET_HEADER, CacheEvent
from octavo.http.body import UNREADABLE
from octavo.router.endpoints import FULL_USAGE, Endpoint
from octavo.router.prefix_index import CachedPrefixes
from octavo.router.upstream_connection import UpstreamError

RETRY_SECONDS = 0.5
SILENCE_SECONDS = 10.0  # a replica gives a sign of life every second
MAX_LINE_BYTES = 64 << 20


class CacheWatch:
    def __init__(
        self,
        secret: str,
        prefixes: CachedPrefixes,
        *,
        retry_seconds: float = RETRY_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        """prefixes: is told of which blocks prompts consist."""
        self._secret = secret.encode()
        self._prefixes = prefixes
        self._retry_seconds = retry_seconds
        self._silence_seconds = silence_seconds

    async def follow(self, endpoint: Endpoint) -> None:
        """Until cancelled. While it cannot be followed, nothing is known of its cache."""
        while True:
            if endpoint.is_ready and endpoint.card is not None:
                try:
                    await self._read(endpoint)
                except (UpstreamError, *UNREADABLE):
                    pass  # health.py says what is wrong with it
                finally:
                    endpoint.cached_blocks = None
                    endpoint.is_short_of_memory = False
                    endpoint.memory_source = "unknown: its cache events ended"
            await asyncio.sleep(self._retry_seconds)

    async def _read(self, endpoint: Endpoint) -> None:
        headers = [(SECRET_HEADER, self._secret)]
        answer = await endpoint.upstream.request(
            "GET", EVENTS_PATH, headers, b"", seconds=self._silence_seconds
        )
        try:
            if answer.status != 200:
                return
            rest = b""
            while data := await answer.read(self._silence_seconds):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    apply(endpoint, msgspec.json.decode(line, type=CacheEvent), self._prefixes)
                if len(rest) > MAX_LINE_BYTES:
                    return
        finally:
            answer.close()


def apply(endpoint: Endpoint, event: CacheEvent, prefixes: CachedPrefixes) -> None:
    if event.is_reset or endpoint.cached_blocks is None:
        endpoint.cached_blocks = set()
    endpoint.cached_blocks.difference_update(split_short_hashes(event.removed))
    endpoint.cached_blocks.update(split_short_hashes(event.stored))
    endpoint.is_short_of_memory = event.num_waiting > 0 and event.kv_usage >= FULL_USAGE
    endpoint.memory_source = "its cache events"
    for prompt in event.prompts:
        prefixes.learn(prompt)
