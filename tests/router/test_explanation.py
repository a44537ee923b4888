"""Where a prompt leaves what a candidate's cache has."""

import pytest

from octavo.router.decisions import Decision
from octavo.router.endpoints import Endpoint
from octavo.router.explanation import explain
from octavo.router.policies.base import Score
from octavo.router.prefix_index import TOKENS_PER_CHUNK
from octavo.router.routed_request import CHUNK_BYTES


@pytest.mark.parametrize(
    ("looks_at_caches", "num_bytes", "num_cached", "expected"),
    [
        (True, 3 * CHUNK_BYTES, 0, 0),
        (True, 3 * CHUNK_BYTES, 2 * TOKENS_PER_CHUNK, 2 * CHUNK_BYTES),
        (True, 4 * CHUNK_BYTES - 1, 3 * TOKENS_PER_CHUNK, None),
        (True, CHUNK_BYTES - 1, 0, None),
        (False, 3 * CHUNK_BYTES, 0, None),
    ],
)
def test_the_first_byte_that_is_missing(
    looks_at_caches: bool, num_bytes: int, num_cached: int, expected: int | None
) -> None:
    score = Score(Endpoint("http://127.0.0.1:1", name="r0"), 1.0, num_cached)
    decision = Decision("id", "tiny", "a policy", looks_at_caches, 1 + num_bytes // 4)
    decision.add(score, [score])
    explained = explain(decision)
    assert explained["request_id"] == "id"
    (attempt,) = explained["attempts"]
    (row,) = attempt["scores"]
    assert (row["endpoint"], row["cached_tokens"], row["first_missing_byte"]) == ("r0", num_cached, expected)
