"""How other routers choose, as policies to compare with: their published formulas with their defaults.

They get what ours get: the same index of sent prefixes, and the router's own accounting of load, fresher than
the gauges that some of them read. Not part of octavo.
"""

import random
from collections.abc import Callable, Sequence

import xxhash

from octavo.router.endpoints import Endpoint
from octavo.router.policies.base import RoutingPolicy, Score
from octavo.router.policies.prefix import PrefixAffinity
from octavo.router.prefix_index import CachedPrefixes
from octavo.router.routed_request import RoutedRequest

BLOCK_TOKENS = 16


class _Baseline:
    looks_at_caches = False

    def __init__(self) -> None:
        self.prefixes = CachedPrefixes()
        self.lots = random.Random(0)

    def chosen(self, endpoint: Endpoint, request: RoutedRequest) -> None:
        self.prefixes.sent(endpoint, request)

    def cached(self, candidates: Sequence[Endpoint], request: RoutedRequest) -> list[int]:
        return [self.prefixes.num_cached_tokens(endpoint, request) for endpoint in candidates]


class Random(_Baseline):
    name = "random"

    def score(self, candidates: Sequence[Endpoint], request: RoutedRequest) -> list[Score]:
        return [Score(endpoint, 0) for endpoint in candidates]


class TwoChoices(_Baseline):
    """The less loaded of two drawn by lot (Mitzenmacher, 2001)."""

    name = "two choices"

    def score(self, candidates: Sequence[Endpoint], request: RoutedRequest) -> list[Score]:
        drawn = self.lots.sample(list(candidates), min(2, len(candidates)))
        return [Score(one, one.load.num_requests if one in drawn else 1e9) for one in candidates]


class SentPrefix(_Baseline):
    """Our `prefix` in front of replicas that do not tell what their caches hold."""

    name = "prefix as sent"
    looks_at_caches = True

    def score(self, candidates: Sequence[Endpoint], request: RoutedRequest) -> list[Score]:
        return PrefixAffinity(self.prefixes).score(candidates, request)


class LongestPrefix(_Baseline):
    """production-stack's `prefixaware`: whoever has most of the prompt, whatever the load."""

    name = "longest prefix"
    looks_at_caches = True

    def score(self, candidates: Sequence[Endpoint], request: RoutedRequest) -> list[Score]:
        cached = self.cached(candidates, request)
        return [Score(one, -count, count) for one, count in zip(candidates, cached, strict=True)]


class CacheAware(_Baseline):
    """SGLang's router: by prefix while the load is even, by load alone when it is not."""

    name = "SGLang cache_aware"
    looks_at_caches = True

    def score(self, candidates: Sequence[Endpoint], request: RoutedRequest) -> list[Score]:
        cached = self.cached(candidates, request)
        loads = [endpoint.load.num_requests for endpoint in candidates]
        is_uneven = max(loads) - min(loads) > 32 and max(loads) > 1.1 * min(loads)
        is_warm = max(cached) > 0.5 * request.num_prompt_tokens
        values = [-count for count in cached] if is_warm and not is_uneven else loads
        return [Score(*row) for row in zip(candidates, values, cached, strict=True)]


class BlockCost(_Baseline):
    """Dynamo's KV router: blocks to prefill there plus blocks of the answers under way."""

    name = "Dynamo cost"
    looks_at_caches = True

    def score(self, candidates: Sequence[Endpoint], request: RoutedRequest) -> list[Score]:
        scores = []
        for endpoint, cached in zip(candidates, self.cached(candidates, request), strict=True):
            prefill = endpoint.load.num_prompt_tokens + request.num_prompt_tokens - cached
            decode = endpoint.load.num_requests * request.num_prompt_tokens
            scores.append(Score(endpoint, (max(prefill, 0) + decode) / BLOCK_TOKENS, cached))
        return scores


class StickyUntilSaturated(_Baseline):
    """llm-d: the warm ones (80 % cached) while they are not 18 s of prefill behind; then by token load."""

    name = "llm-d sticky"
    looks_at_caches = True
    peak_tokens_per_second = 2500.0  # measured once for a model and machine; here the formula's own

    def score(self, candidates: Sequence[Endpoint], request: RoutedRequest) -> list[Score]:
        cached = dict(zip(candidates, self.cached(candidates, request), strict=True))
        waiting = {one: one.load.num_prompt_tokens / self.peak_tokens_per_second for one in candidates}
        warm = [one for one in candidates if cached[one] >= 0.8 * request.num_prompt_tokens]
        cold = [one for one in candidates if one not in warm]
        if warm and cold and min(map(waiting.get, warm)) - min(map(waiting.get, cold)) > 18:
            warm = []
        return [
            Score(
                one,
                one.load.num_prompt_tokens + request.num_prompt_tokens - cached[one]
                if one in (warm or candidates)
                else 1e9,
                cached[one],
            )
            for one in candidates
        ]


class BoundedHash(_Baseline):
    """Consistent hashing of the prompt's beginning with bounded load, as KubeAI's PrefixHash."""

    name = "prefix hash"

    def score(self, candidates: Sequence[Endpoint], request: RoutedRequest) -> list[Score]:
        key = request.prefix[0] if request.prefix else 0
        order = sorted(candidates, key=lambda one: xxhash.xxh3_64_intdigest(one.name.encode(), seed=key))
        bound = 1.25 * (1 + sum(one.load.num_requests for one in candidates)) / len(candidates)
        return [
            Score(one, order.index(one) + len(order) * (one.load.num_requests + 1 > bound))
            for one in candidates
        ]


BASELINES: dict[str, Callable[[], RoutingPolicy]] = {
    kind.name: kind
    for kind in (
        SentPrefix, Random, TwoChoices, LongestPrefix, CacheAware, BlockCost, StickyUntilSaturated,
        BoundedHash,
    )
}  # fmt: skip
