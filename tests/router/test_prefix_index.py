from octavo.router.prefix_index import TOKENS_PER_CHUNK, PrefixIndex, SentPrefixes
from tests.router.policies.some import endpoints, request


def test_memory_is_bounded_and_a_prompt_is_forgotten_from_its_end() -> None:
    index = PrefixIndex(max_chunks=4)
    index.insert((1, 2, 3))
    index.insert((7, 8))
    assert len(index) == 4
    assert index.match((1, 2, 3)) == 2 and index.match((7, 8, 9)) == 2
    index.insert(tuple(range(100, 200)))
    assert len(index) == 4 and index.match(tuple(range(100, 200))) == 4


def test_only_a_beginning_counts() -> None:
    index = PrefixIndex()
    index.insert((1, 2, 3))
    assert index.match((2, 3)) == 2  # its hash says that what comes before is the same
    assert index.match((9, 2, 3)) == 0


def test_each_endpoint_has_what_was_sent_to_it() -> None:
    sent, (one, other) = SentPrefixes(), endpoints(2)
    sent.sent(one, request(prefix=(1, 2)))
    longer = request(prefix=(1, 2, 3), num_prompt_tokens=1000)
    assert sent.num_cached_tokens(one, longer) == 2 * TOKENS_PER_CHUNK
    assert sent.num_cached_tokens(other, longer) == 0


def test_no_more_is_cached_than_there_is() -> None:
    sent, (one,) = SentPrefixes(), endpoints(1)
    sent.sent(one, request(prefix=(1, 2)))
    assert sent.num_cached_tokens(one, request(prefix=(1, 2), num_prompt_tokens=100)) == 100
