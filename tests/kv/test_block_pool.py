import pytest

from octavo.kv.block_pool import BlockPool


def pool(num_blocks=4):
    evicted = []
    return BlockPool(num_blocks, evicted.append), evicted


def test_blocks_are_taken_in_order_and_counted():
    p, _ = pool()
    assert p.acquire(3) == [0, 1, 2]
    assert (p.num_used, p.num_free, p.num_cached) == (3, 1, 0)


def test_more_than_is_free_cannot_be_taken():
    p, _ = pool()
    p.acquire(3)
    with pytest.raises(AssertionError, match="2 blocks wanted, 1 are free"):
        p.acquire(2)


def test_a_block_is_free_after_its_last_reference():
    p, _ = pool()
    (block,) = p.acquire(1)
    p.share(block)
    p.release(block, keep=True)
    assert (p.ref_count(block), p.num_free) == (1, 3)
    p.release(block, keep=True)
    assert (p.ref_count(block), p.num_free, p.num_cached) == (0, 4, 1)


def test_a_free_block_cannot_be_released_again():
    p, _ = pool()
    (block,) = p.acquire(1)
    p.release(block, keep=False)
    with pytest.raises(AssertionError, match="free already"):
        p.release(block, keep=False)


def test_empty_blocks_go_first_then_the_least_recently_used():
    p, evicted = pool()
    a, b, c, d = p.acquire(4)
    p.release(c, keep=True)
    p.release(a, keep=True)
    p.release(d, keep=False)
    p.release(b, keep=False)
    assert p.acquire(2) == [b, d]
    assert evicted == []
    assert p.acquire(2) == [c, a]
    assert evicted == [c, a]
    assert p.num_cached == 0


def test_a_cached_block_can_be_shared_and_is_then_in_use():
    p, evicted = pool()
    a, b, c, d = p.acquire(4)
    for block in (a, b, c, d):
        p.release(block, keep=True)
    p.share(b)
    assert (p.ref_count(b), p.num_free, p.num_cached) == (1, 3, 3)
    assert p.acquire(3) == [a, c, d]
    assert evicted == [a, c, d]


def test_an_empty_block_cannot_be_shared():
    p, _ = pool()
    with pytest.raises(AssertionError, match="empty"):
        p.share(0)
