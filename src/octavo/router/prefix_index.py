"""How much of a prompt an endpoint has in its cache, as far as a router can know.

Of an octavo replica that tells what its cache holds: precisely, as soon as a prompt that begins alike has
been asked anywhere. The replica says of which blocks the prompt consists, to every router, so none needs
tokenizer or template, and one that is started anew knows what the others know. Of anybody else, and for a few
seconds of everybody: what was sent there.
"""

import collections
import struct
import time
import weakref
from collections.abc import Callable, Sequence

from octavo.core.block_hash import split_short_hashes
from octavo.core.relay import CHUNK_HASH_BYTES, KnownPrompt, PromptPrefix
from octavo.router.endpoints import Endpoint
from octavo.router.routed_request import BYTES_PER_TOKEN, CHUNK_BYTES, RoutedRequest

MAX_CHUNKS_PER_ENDPOINT = 32_768  # about two million tokens; a chunk takes some 100 bytes of memory
MAX_KNOWN_CHUNKS = 131_072  # of all prompts whose blocks are known; some 200 bytes each
TOKENS_PER_CHUNK = CHUNK_BYTES // BYTES_PER_TOKEN
MAX_TOLD_CHUNKS = 256  # of one prompt: a header has to fit
COMPUTING_SECONDS = 60.0  # how long a prompt that was sent may take to be computed
TELLING_SECONDS = 1.0  # after its first token, until the endpoint has told of its blocks


class PrefixIndex:
    """The chunks most recently sent to one endpoint; the least recently used is forgotten first.

    Of each: until when it counts as cached although the endpoint does not say so.
    """

    def __init__(self, max_chunks: int = MAX_CHUNKS_PER_ENDPOINT) -> None:
        self._max_chunks = max_chunks
        self._until: collections.OrderedDict[int, float] = collections.OrderedDict()
        self.until = self._until.get  # of a chunk, whose hash covers all before it; None: it was not sent

    def __len__(self) -> int:
        return len(self._until)

    def insert(self, prefix: Sequence[int], until: float) -> None:
        """Last chunks first, so that a long prompt is forgotten from its end."""
        chunks = self._until
        for chunk in reversed(prefix[: self._max_chunks]):
            chunks[chunk] = until
            chunks.move_to_end(chunk)
        while len(chunks) > self._max_chunks:
            chunks.popitem(last=False)


class BlocksOfChunks:
    """Which KV blocks end in which chunk of a prompt: learned from prompts that were answered.

    A replica says of which blocks a prompt consists, not where in the text each ends. So blocks are spread
    evenly at first; what another prompt with the same chunk does not share is taken away from it.
    """

    def __init__(self, max_chunks: int = MAX_KNOWN_CHUNKS) -> None:
        self._max_chunks = max_chunks
        self._blocks: collections.OrderedDict[int, tuple[bytes, ...]] = collections.OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def get(self, chunk: int) -> tuple[bytes, ...] | None:
        return self._blocks.get(chunk)

    def learn(self, prefix: Sequence[int], num_bytes: int, blocks: Sequence[bytes]) -> None:
        """prefix: the chunks of a prompt of num_bytes; blocks: of all of it, or its beginning."""
        position = 0
        for number, chunk in enumerate(prefix, start=1):
            end = min(len(blocks), len(blocks) * number * CHUNK_BYTES // max(num_bytes, 1))
            known = self._blocks.get(chunk)
            if known is None:
                known = tuple(blocks[position:end])
            else:
                known = known[: _num_equal(known, blocks[position:])]
            self._blocks[chunk] = known
            self._blocks.move_to_end(chunk)
            position += len(known)
        while len(self._blocks) > self._max_chunks:
            self._blocks.popitem(last=False)


def _num_equal(one: Sequence[bytes], other: Sequence[bytes]) -> int:
    return next(
        (index for index, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )


class CachedPrefixes:
    """What all policies know of caches."""

    def __init__(
        self,
        max_chunks: int = MAX_CHUNKS_PER_ENDPOINT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """max_chunks: remembered of each endpoint."""
        self._max_chunks = max_chunks
        self._clock = clock
        self._blocks = BlocksOfChunks()
        self._indexes: weakref.WeakKeyDictionary[Endpoint, PrefixIndex] = weakref.WeakKeyDictionary()

    def num_cached_tokens(self, endpoint: Endpoint, request: RoutedRequest) -> int:
        """Of the request's prompt, in the router's own estimate of tokens."""
        return self.find(endpoint, request)[0]

    def find_at(self, endpoints: Sequence[Endpoint], request: RoutedRequest) -> list[tuple[int, int]]:
        """What find() says of each."""
        if not request.prefix:
            return [(0, 0)] * len(endpoints)
        return [self.find(endpoint, request) for endpoint in endpoints]

    def find(self, endpoint: Endpoint, request: RoutedRequest) -> tuple[int, int]:
        """The same, and how many of them another prompt is having computed now, at the end of them."""
        cached = endpoint.cached_blocks
        index = self._indexes.get(endpoint)
        now = self._clock()
        num_chunks = num_computed = 0  # of its beginning
        for chunk in request.prefix:
            blocks = None if cached is None else self._blocks.get(chunk)
            until = None if index is None else index.until(chunk)
            if blocks and cached is not None and cached.issuperset(blocks):
                is_computed = True
            elif until is not None and (until > now or not blocks):
                is_computed = until <= now + TELLING_SECONDS  # else it is still pending
            else:
                break
            if is_computed and num_computed == num_chunks:
                num_computed += 1
            num_chunks += 1
        num_tokens = min(num_chunks * TOKENS_PER_CHUNK, request.num_prompt_tokens)
        return num_tokens, max(num_tokens - num_computed * TOKENS_PER_CHUNK, 0)

    def sent(self, endpoint: Endpoint, request: RoutedRequest) -> None:
        if not request.prefix:
            return
        index = self._indexes.get(endpoint)
        if index is None:
            index = self._indexes[endpoint] = PrefixIndex(self._max_chunks)
        index.insert(request.prefix, self._clock() + COMPUTING_SECONDS)

    def computed(self, endpoint: Endpoint, request: RoutedRequest) -> None:
        """Its first token has come: from now on the endpoint knows what it has."""
        if request.prefix and endpoint in self._indexes:
            self._indexes[endpoint].insert(request.prefix, self._clock() + TELLING_SECONDS)

    def learn(self, prompt: KnownPrompt) -> None:
        """As a replica told, whichever it is."""
        num_chunks = len(prompt.chunks) // CHUNK_HASH_BYTES
        chunks = struct.unpack_from(f"<{num_chunks}Q", prompt.chunks)  # what is left over is no chunk
        self._blocks.learn(chunks, prompt.num_bytes, split_short_hashes(prompt.blocks))


def known_as(request: RoutedRequest) -> PromptPrefix:
    """What replicas are told of a request's prompt, to tell all routers of."""
    chunks = request.prefix[:MAX_TOLD_CHUNKS]
    num_bytes = request.num_prompt_tokens * BYTES_PER_TOKEN
    return PromptPrefix(num_bytes, struct.pack(f"<{len(chunks)}Q", *chunks))
