import random

import pytest

from octavo.core.relay import KnownPrompt
from octavo.router.prefix_index import (
    COMPUTING_SECONDS,
    TELLING_SECONDS,
    TOKENS_PER_CHUNK,
    BlocksOfChunks,
    CachedPrefixes,
    PrefixIndex,
    known_as,
)
from octavo.router.routed_request import CHUNK_BYTES, RoutedRequest
from tests.router.policies.some import endpoints, request


def test_memory_is_bounded_and_a_prompt_is_forgotten_from_its_end() -> None:
    index = PrefixIndex(max_chunks=4)
    index.insert((1, 2, 3), 0.0)
    index.insert((7, 8), 0.0)
    assert len(index) == 4
    assert [index.until(chunk) for chunk in (1, 2, 3, 7, 8)] == [0.0, 0.0, None, 0.0, 0.0]
    index.insert(tuple(range(100, 200)), 0.0)
    assert len(index) == 4 and all(index.until(chunk) == 0.0 for chunk in range(100, 104))


def test_what_is_sent_again_is_expected_for_longer() -> None:
    index = PrefixIndex()
    index.insert((1, 2), 5.0)
    index.insert((1,), 6.0)
    assert (index.until(1), index.until(2), index.until(3)) == (6.0, 5.0, None)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_of_an_endpoint_that_does_not_tell_what_was_sent_to_it_counts() -> None:
    prefixes, (one, other) = CachedPrefixes(), endpoints(2)
    prefixes.sent(one, request(prefix=(1, 2)))
    longer = request(prefix=(1, 2, 3), num_prompt_tokens=1000)
    assert prefixes.num_cached_tokens(one, longer) == 2 * TOKENS_PER_CHUNK
    assert prefixes.num_cached_tokens(other, longer) == 0
    assert prefixes.num_cached_tokens(one, request(prefix=(1, 2), num_prompt_tokens=100)) == 100


def prompt(*chunks: int) -> tuple[object, bytes]:
    """Eight blocks a chunk; blocks are named by their chunk."""
    blocks = b"".join(b"%04d%04d" % (chunk, number) for chunk in chunks for number in range(8))
    return request(prefix=chunks, num_prompt_tokens=len(chunks) * TOKENS_PER_CHUNK), blocks


def split(joined: bytes) -> list[bytes]:
    return [joined[start : start + 8] for start in range(0, len(joined), 8)]


def known(request: RoutedRequest, blocks: bytes) -> KnownPrompt:
    """As a replica tells it that was asked."""
    prefix = known_as(request)
    return KnownPrompt(prefix.num_bytes, prefix.chunks, blocks)


def test_an_endpoint_that_tells_is_believed() -> None:
    clock = Clock()
    prefixes, (one, other) = CachedPrefixes(clock=clock), endpoints(2)
    wanted, blocks = prompt(1, 2, 3)
    prefixes.sent(one, wanted)
    prefixes.learn(known(wanted, blocks))
    one.cached_blocks, other.cached_blocks = set(split(blocks)), set(split(blocks)[:16])
    clock.now = 2 * COMPUTING_SECONDS
    assert prefixes.num_cached_tokens(one, wanted) == 3 * TOKENS_PER_CHUNK
    assert prefixes.num_cached_tokens(other, wanted) == 2 * TOKENS_PER_CHUNK
    one.cached_blocks.discard(split(blocks)[10])  # evicted
    assert prefixes.num_cached_tokens(one, wanted) == TOKENS_PER_CHUNK


def test_what_has_just_been_sent_counts_before_it_is_told() -> None:
    clock = Clock()
    prefixes, (one,) = CachedPrefixes(clock=clock), endpoints(1)
    wanted, blocks = prompt(1, 2)
    prefixes.learn(known(wanted, blocks))
    one.cached_blocks = set()
    assert prefixes.num_cached_tokens(one, wanted) == 0
    prefixes.sent(one, wanted)
    assert prefixes.num_cached_tokens(one, wanted) == 2 * TOKENS_PER_CHUNK
    clock.now = 2 * COMPUTING_SECONDS
    assert prefixes.num_cached_tokens(one, wanted) == 0


def test_once_it_is_computed_the_endpoint_has_to_say_so() -> None:
    clock = Clock()
    prefixes, (one,) = CachedPrefixes(clock=clock), endpoints(1)
    wanted, blocks = prompt(1, 2)
    prefixes.learn(known(wanted, blocks))
    one.cached_blocks = set()
    prefixes.sent(one, wanted)
    clock.now = COMPUTING_SECONDS / 2
    prefixes.computed(one, wanted)
    assert prefixes.num_cached_tokens(one, wanted) == 2 * TOKENS_PER_CHUNK
    clock.now += 2 * TELLING_SECONDS
    assert prefixes.num_cached_tokens(one, wanted) == 0
    one.cached_blocks = set(split(blocks))
    assert prefixes.num_cached_tokens(one, wanted) == 2 * TOKENS_PER_CHUNK


@pytest.mark.parametrize("tells", [True, False])
def test_what_is_being_computed_is_told_apart(tells: bool) -> None:
    clock = Clock()
    prefixes, (one,) = CachedPrefixes(clock=clock), endpoints(1)
    beginning, _ = prompt(1, 2)
    wanted, blocks = prompt(1, 2, 3)
    if tells:
        prefixes.learn(known(wanted, blocks))
        one.cached_blocks = set(split(blocks)[:16])
    else:
        prefixes.sent(one, beginning)
        prefixes.computed(one, beginning)
    assert prefixes.find(one, wanted) == (2 * TOKENS_PER_CHUNK, 0)
    prefixes.sent(one, wanted)
    num_pending = TOKENS_PER_CHUNK if tells else 3 * TOKENS_PER_CHUNK
    assert prefixes.find(one, wanted) == (3 * TOKENS_PER_CHUNK, num_pending)
    prefixes.computed(one, wanted)
    assert prefixes.find(one, wanted) == (3 * TOKENS_PER_CHUNK, 0)


def test_blocks_are_given_to_the_chunks_that_prompts_have_in_common() -> None:
    """Text and tokens are not spread evenly; the next prompts put that right, whatever their order."""
    shared = [b"shared%02d" % number for number in range(20)]
    known = BlocksOfChunks()
    lots = random.Random(0)
    for number in range(30):
        own = [b"own%02d%03d" % (number, block) for block in range(lots.randrange(40))]
        prefix = (1, 2, 3, *(1000 * (number + 1) + chunk for chunk in range(lots.randrange(8))))
        known.learn(prefix, CHUNK_BYTES * len(prefix) + lots.randrange(CHUNK_BYTES), shared + own)
    found = [block for chunk in (1, 2, 3) for block in known.get(chunk) or ()]
    assert found == shared[: len(found)] and len(found) > 0


def test_known_blocks_are_bounded() -> None:
    known = BlocksOfChunks(max_chunks=10)
    known.learn(range(100), 100 * CHUNK_BYTES, [b"%08d" % number for number in range(800)])
    assert len(known) == 10 and known.get(99) is not None and known.get(0) is None
