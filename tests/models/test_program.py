import dataclasses

import pytest

from octavo.core.kv_dtype import KVDType
from octavo.models.lowering import lower
from tests.backends.tiny import TINY


def test_int8_blocks_hold_a_byte_per_number_and_a_unit_per_token_and_head() -> None:
    program = lower(dataclasses.replace(TINY, head_dim=64))
    group = program.with_kv_dtype(KVDType.INT8).kv_groups[0]
    content = 2 * 16 * (64 + 4) * 2 * 2  # K and V, tokens, dims and a unit, layers, heads
    assert 0 <= group.block_bytes - content < 128
    assert group.block_bytes / program.kv_groups[0].block_bytes == pytest.approx(17 / 32, abs=0.01)
    assert group.slab_bytes % 64 == 0  # units begin a cache line


def test_blocks_are_an_odd_number_of_cache_lines_apart() -> None:
    group = lower(TINY).kv_groups[0]
    content = 2 * 16 * 16 * 2 * 2 * 2  # K and V, tokens, dims, bytes, layers, heads
    assert group.block_bytes >= content
    assert group.block_bytes - content < 128
    assert group.block_bytes // 64 % 2 == 1
