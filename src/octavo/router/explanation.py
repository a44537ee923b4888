"""What an operator is shown of a decision: what was recorded, and what follows from it.

Reckoned when it is asked for; the request itself had no time for it.
"""

from typing import Any

import msgspec

from octavo.router.decisions import Candidate, Decision
from octavo.router.prefix_index import TOKENS_PER_CHUNK
from octavo.router.routed_request import BYTES_PER_TOKEN, CHUNK_BYTES


def explain(decision: Decision) -> dict[str, Any]:
    """The decision as JSON knows it; and of each candidate the first byte of the prompt it lacked."""
    explained: dict[str, Any] = msgspec.to_builtins(decision)
    for attempt, shown in zip(decision.attempts, explained["attempts"], strict=True):
        for candidate, row in zip(attempt.scores, shown["scores"], strict=True):
            row["score"] = round(candidate.score, 3)
            row["first_missing_byte"] = first_missing_byte(decision, candidate)
    return explained


def first_missing_byte(decision: Decision, candidate: Candidate) -> int | None:
    """Where the first chunk of the prompt begins that the candidate's cache has not, in the request's tools
    and messages or prompt as they were sent. None: it has every whole chunk, or the policy does not look."""
    num_chunks = (decision.num_prompt_tokens - 1) * BYTES_PER_TOKEN // CHUNK_BYTES
    num_cached = candidate.cached_tokens // TOKENS_PER_CHUNK
    is_known = decision.looks_at_caches
    return num_cached * CHUNK_BYTES if is_known and num_cached < num_chunks else None
