"""Approximate prefix affinity: go where the prompt's beginning was sent, unless waiting there costs more.

The score is in tokens to compute before the first one of the answer: what the endpoint owes, and the part of
this prompt it probably lacks. So affinity gives way by itself, request by request, when it no longer pays.
"""

import collections
import weakref
from collections.abc import Sequence

from octavo.router.endpoints import Endpoint
from octavo.router.policies.base import Score
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


class PrefixAffinity:
    name = "prefix"

    def __init__(self, max_chunks: int = MAX_CHUNKS_PER_ENDPOINT) -> None:
        self._max_chunks = max_chunks
        self._indexes: weakref.WeakKeyDictionary[Endpoint, PrefixIndex] = weakref.WeakKeyDictionary()

    def score(self, candidates: Sequence[Endpoint], request: RoutedRequest) -> list[Score]:
        return [self._score(endpoint, request) for endpoint in candidates]

    def _score(self, endpoint: Endpoint, request: RoutedRequest) -> Score:
        index = self._indexes.get(endpoint)
        num_chunks = 0 if index is None else index.match(request.prefix)
        num_cached = min(num_chunks * TOKENS_PER_CHUNK, request.num_prompt_tokens)
        num_missing = request.num_prompt_tokens - num_cached
        return Score(endpoint, endpoint.load.num_tokens + num_missing, num_cached)

    def chosen(self, endpoint: Endpoint, request: RoutedRequest) -> None:
        self._indexes.setdefault(endpoint, PrefixIndex(self._max_chunks)).insert(request.prefix)
