from octavo.models.lowering import lower
from tests.backends.tiny import TINY


def test_blocks_are_an_odd_number_of_cache_lines_apart() -> None:
    group = lower(TINY).kv_groups[0]
    content = 2 * 16 * 16 * 2 * 2 * 2  # K and V, tokens, dims, bytes, layers, heads
    assert group.block_bytes >= content
    assert group.block_bytes - content < 128
    assert group.block_bytes // 64 % 2 == 1
