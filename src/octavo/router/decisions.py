"""Why a request went where it went: for the x-octavo-route header and GET /debug/route/{request_id}."""

import collections
from collections.abc import Sequence

import msgspec

from octavo.router.policies.base import RoutingPolicy, Score
from octavo.router.routed_request import RoutedRequest

MAX_DECISIONS = 1000  # the newest are kept


class Candidate(msgspec.Struct, frozen=True):
    """What was known of an endpoint when it was scored; the lowest score was chosen."""

    endpoint: str
    score: float  # in full; an operator is shown three decimals
    cached_tokens: int  # of the prompt, predicted
    tells_its_cache: bool
    reserved_tokens: int
    requests: int


class Attempt(msgspec.Struct):
    """One endpoint asked. outcome: answered, failed for a reason, or still under way."""

    endpoint: str
    scores: list[Candidate]
    num_cached_predicted: int
    num_resumed_tokens: int = 0  # of the answer, that it began with
    num_cached_actual: int | None = None  # where the endpoint reports it
    first_token_seconds: float | None = None  # of a stream, since it was asked
    outcome: str = "under way"
    has_progressed: bool = False  # something of the answer came from it
    is_exact: bool = True  # False: another model than the one that began the answer


class Decision(msgspec.Struct):
    request_id: str
    model: str
    policy: str
    looks_at_caches: bool  # the policy; else nobody has predicted what is cached
    num_prompt_tokens: int  # estimated
    attempts: list[Attempt] = msgspec.field(default_factory=list)

    def add(self, chosen: Score, scores: Sequence[Score], num_resumed_tokens: int = 0) -> Attempt:
        candidates = []
        for score in scores:
            endpoint, load = score.endpoint, score.endpoint.load
            tells = endpoint.cached_blocks is not None
            cached = score.num_cached_tokens
            candidates.append(
                Candidate(endpoint.name, score.value, cached, tells, load.num_tokens, load.num_requests)
            )
        attempt = Attempt(chosen.endpoint.name, candidates, chosen.num_cached_tokens, num_resumed_tokens)
        self.attempts.append(attempt)
        return attempt

    @property
    def header(self) -> bytes:
        """Of the newest attempt, in one line."""
        newest = self.attempts[-1]
        return (
            f"endpoint={newest.endpoint}; policy={self.policy}; candidates={len(newest.scores)}; "
            f"cached={newest.num_cached_predicted}; attempt={len(self.attempts)}"
        ).encode("latin-1", "replace")


class DecisionLog:
    """The newest decisions, by request id."""

    def __init__(self, max_decisions: int = MAX_DECISIONS) -> None:
        self._max_decisions = max_decisions
        self._decisions: collections.OrderedDict[str, Decision] = collections.OrderedDict()

    def open(self, request: RoutedRequest, policy: RoutingPolicy) -> Decision:
        decision = Decision(
            request.id, request.model, policy.name, policy.looks_at_caches, request.num_prompt_tokens
        )
        self._decisions[request.id] = decision
        self._decisions.move_to_end(request.id)
        if len(self._decisions) > self._max_decisions:
            self._decisions.popitem(last=False)
        return decision

    def get(self, request_id: str) -> Decision | None:
        return self._decisions.get(request_id)
