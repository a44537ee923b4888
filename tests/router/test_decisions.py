from octavo.router.decisions import Candidate, DecisionLog
from octavo.router.policies.base import Score
from octavo.router.policies.prefix import PrefixAffinity
from octavo.router.prefix_index import CachedPrefixes
from tests.router.policies.some import endpoints, request


def test_the_newest_decisions_are_kept() -> None:
    log = DecisionLog(max_decisions=2)
    for name in ("a", "b", "c"):
        log.open(request(id=name), PrefixAffinity(CachedPrefixes()))
    assert log.get("a") is None and log.get("b") is not None and log.get("c") is not None


def test_the_header_tells_the_newest_attempt() -> None:
    decision = DecisionLog().open(request(), PrefixAffinity(CachedPrefixes()))
    one, two = endpoints(2)
    scores = [Score(one, 5, 64), Score(two, 9)]
    decision.add(scores[0], scores)
    decision.add(scores[1], scores[1:], num_resumed_tokens=7)
    assert decision.header == b"endpoint=r1; policy=prefix; candidates=1; cached=0; attempt=2"
    assert [attempt.num_resumed_tokens for attempt in decision.attempts] == [0, 7]
    assert decision.attempts[0].scores[0] == Candidate(
        "r0", 5, cached_tokens=64, tells_its_cache=False, reserved_tokens=0, requests=0
    )
