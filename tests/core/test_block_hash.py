import numpy as np

from octavo.core.block_hash import BLOCK_SIZE, extend_hashes, root_hash

TOKENS = list(range(100))


def hashes_of(tokens):
    hashes = []
    extend_hashes(hashes, root_hash(b"model"), tokens)
    return hashes


def test_only_full_blocks_have_a_hash():
    assert [len(hashes_of(TOKENS[:n])) for n in (0, 15, 16, 17, 31, 32)] == [0, 0, 1, 1, 1, 2]
    assert all(len(block_hash) == 32 for block_hash in hashes_of(TOKENS))


def test_the_hashes_of_a_sequence_begin_with_those_of_its_prefix():
    assert hashes_of(TOKENS)[:2] == hashes_of(TOKENS[:40])


def test_a_block_is_known_by_everything_before_it():
    changed = [999, *TOKENS[1:]]
    assert not set(hashes_of(TOKENS)) & set(hashes_of(changed))
    swapped = TOKENS[BLOCK_SIZE : 2 * BLOCK_SIZE] + TOKENS[:BLOCK_SIZE]
    assert not set(hashes_of(TOKENS[: 2 * BLOCK_SIZE])) & set(hashes_of(swapped))


def test_extending_in_pieces_equals_extending_at_once():
    hashes, root = [], root_hash(b"model")
    for length in (5, 20, 20, 70, 100):
        extend_hashes(hashes, root, TOKENS[:length])
    assert hashes == hashes_of(TOKENS)


def test_lists_and_arrays_hash_alike():
    assert hashes_of(TOKENS) == hashes_of(np.array(TOKENS, np.int32))


def test_every_field_of_the_root_counts_and_none_runs_into_the_next():
    roots = {
        root_hash(b"model"),
        root_hash(b"other"),
        root_hash(b"model", salt="a"),
        root_hash(b"model", adapter="a"),
        root_hash(b"model", salt="a", adapter="b"),
        root_hash(b"model", salt="ab"),
        root_hash(b"modela"),
    }
    assert len(roots) == 7


def test_the_definition_does_not_change():
    """Stored blocks and routers rely on it."""
    assert (
        hashes_of(TOKENS[:16])[0].hex() == "0740ffa47291138de34c1b1b23c706ff61d3275902a3fadd42f35a05672d3a98"
    )
