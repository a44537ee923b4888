import pytest

from octavo.kv.prefix_cache import PrefixCache


def test_finds_what_was_inserted_until_it_is_removed():
    cache = PrefixCache(3)
    cache.insert(b"a", 1)
    assert (cache.find(b"a"), cache.find(b"b"), len(cache)) == (1, None, 1)
    assert cache.holds(1) and not cache.holds(0)
    assert cache.remove(1) == b"a"
    assert (cache.find(b"a"), cache.holds(1), len(cache)) == (None, False, 0)
    assert cache.remove(1) is None


def test_of_two_blocks_with_one_content_the_first_stays():
    cache = PrefixCache(3)
    cache.insert(b"a", 1)
    cache.insert(b"a", 2)
    assert cache.find(b"a") == 1
    assert not cache.holds(2)


def test_a_block_has_one_content():
    cache = PrefixCache(3)
    cache.insert(b"a", 1)
    with pytest.raises(AssertionError, match="another prefix"):
        cache.insert(b"b", 1)


def key(letter: str) -> bytes:
    return letter.encode() * 32


def test_changes_are_told_once_and_the_last_word_counts():
    cache = PrefixCache(4)
    cache.insert(key("a"), 0)
    cache.insert(key("b"), 1)
    cache.remove(0)
    assert cache.take_changes() == (b"b" * 8, b"a" * 8)
    assert cache.take_changes() == (b"", b"")
    cache.insert(key("a"), 2)
    cache.remove(2)
    cache.insert(key("a"), 3)
    assert cache.take_changes() == (b"a" * 8, b"")


def test_only_what_is_to_be_reported_is():
    cache = PrefixCache(4, lambda block_hash: len(block_hash) == 32)
    cache.insert(key("a"), 0)
    cache.insert(key("a") + b"\1", 1)
    assert cache.take_changes() == (b"a" * 8, b"")
