"""Where the beginnings of prompts were sent: which endpoint may still have them in its cache."""

import collections
import weakref
from collections.abc import Sequence

from octavo.router.endpoints import Endpoint
from octavo.router.routed_request import BYTES_PER_TOKEN, CHUNK_BYTES, RoutedRequest

MAX_CHUNKS_PER_ENDPOINT = 32_768  # about two million tokens; a chunk takes some 100 bytes of memory
TOKENS_PER_CHUNK = CHUNK_BYTES // BYTES_PER_TOKEN


class PrefixIndex:
    """The chunks most recently sent to one endpoint; the least recently used is forgotten first."""

    def __init__(self, max_chunks: int = MAX_CHUNKS_PER_ENDPOINT) -> None:
        self._max_chunks = max_chunks
        self._chunks: collections.OrderedDict[int, None] = collections.OrderedDict()

    def __len__(self) -> int:
        return len(self._chunks)

    def match(self, prefix: Sequence[int]) -> int:
        """How many chunks from the beginning are known. A chunk's hash covers all that comes before it."""
        known = self._chunks
        return next((number for number, chunk in enumerate(prefix) if chunk not in known), len(prefix))

    def insert(self, prefix: Sequence[int]) -> None:
        """Last chunks first, so that a long prompt is forgotten from its end."""
        for chunk in reversed(prefix[: self._max_chunks]):
            self._chunks[chunk] = None
            self._chunks.move_to_end(chunk)
        while len(self._chunks) > self._max_chunks:
            self._chunks.popitem(last=False)


class SentPrefixes:
    """One index for each endpoint, as long as there is the endpoint."""

    def __init__(self, max_chunks: int = MAX_CHUNKS_PER_ENDPOINT) -> None:
        self._max_chunks = max_chunks
        self._indexes: weakref.WeakKeyDictionary[Endpoint, PrefixIndex] = weakref.WeakKeyDictionary()

    def num_cached_tokens(self, endpoint: Endpoint, request: RoutedRequest) -> int:
        """Of the request's prompt, as far as was sent there before."""
        index = self._indexes.get(endpoint)
        num_chunks = 0 if index is None else index.match(request.prefix)
        return min(num_chunks * TOKENS_PER_CHUNK, request.num_prompt_tokens)

    def sent(self, endpoint: Endpoint, request: RoutedRequest) -> None:
        self._indexes.setdefault(endpoint, PrefixIndex(self._max_chunks)).insert(request.prefix)
