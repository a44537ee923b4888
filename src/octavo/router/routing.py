"""Chooses an endpoint for a request: candidates, a policy's scores, lots among equals, and a record."""

import random
import time
from collections.abc import Callable, Mapping, Set

import msgspec

from octavo.core.errors import ECHO_LIMIT, InvalidRequestError, ModelNotFoundError, OverloadedError
from octavo.router.decisions import Decision, DecisionLog
from octavo.router.endpoints import Endpoint, EndpointSet
from octavo.router.first_token_times import Work
from octavo.router.knowledge import Knowledge
from octavo.router.policies.base import RoutingPolicy, Score, pick
from octavo.router.policies.cost import PredictedCost
from octavo.router.policies.least_load import LeastLoad
from octavo.router.policies.prefix import PrefixAffinity
from octavo.router.policies.round_robin import RoundRobin
from octavo.router.policies.session import SessionAffinity
from octavo.router.routed_request import RoutedRequest
from octavo.router.waiting_room import WaitingRoom


def all_policies(knowledge: Knowledge) -> dict[str, RoutingPolicy]:
    policies: tuple[RoutingPolicy, ...] = (
        RoundRobin(),
        LeastLoad(),
        SessionAffinity(),
        PrefixAffinity(knowledge.prefixes),
        PredictedCost(knowledge),
    )
    return {policy.name: policy for policy in policies}


class Route(msgspec.Struct, frozen=True):
    """work: what was in the way of the first token when the endpoint was chosen; None: nobody will see when
    that comes."""

    score: Score
    scores: list[Score]
    num_missing_tokens: int  # of the prompt, not cached
    work: Work | None

    @property
    def endpoint(self) -> Endpoint:
        return self.score.endpoint


class Router:
    def __init__(
        self,
        endpoints: EndpointSet,
        policies: Mapping[str, RoutingPolicy],
        default_policy: str,
        *,
        model_policies: Mapping[str, str] | None = None,
        retry_after_seconds: int,
        knowledge: Knowledge,
        room: WaitingRoom,
        decisions: DecisionLog | None = None,
        lots: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """model_policies: by model, where it is not the default. retry_after_seconds: for clients, when
        nobody is ready. knowledge: of the policies."""
        self.endpoints = endpoints
        self.room = room
        self.decisions = decisions or DecisionLog()
        self._policies = policies
        self._default_policy = default_policy
        self._model_policies = dict(model_policies or {})
        self._retry_after_seconds = retry_after_seconds
        self._lots = lots or random.Random()
        self._knowledge = knowledge
        self._clock = clock
        self.num_incoming: dict[str, int] = {}  # requests, ever, by model; of those that were known then

    def open(self, request: RoutedRequest) -> Decision:
        """The record of a request that is to be routed. Raises InvalidRequestError: no such policy."""
        decision = self.decisions.open(request, self._policy(request))
        model, counts = request.model, self.num_incoming
        if model in counts or self.endpoints.serving(model) or model in self.endpoints.on_demand.names:
            counts[model] = counts.get(model, 0) + 1
        return decision

    def _policy(self, request: RoutedRequest) -> RoutingPolicy:
        name = request.head.policy or self._model_policies.get(request.model, self._default_policy)
        if name not in self._policies:
            raise InvalidRequestError(
                f"x-octavo-policy is {name[:ECHO_LIMIT]!r}; allowed: {', '.join(self._policies)}.",
                param="x-octavo-policy",
            )
        return self._policies[name]

    def route(
        self,
        request: RoutedRequest,
        *,
        tried: Set[Endpoint] = frozenset(),
        is_fit: Callable[[Endpoint], bool] | None = None,
        may_crowd: bool = False,
    ) -> Route | None:
        """None: everybody who fits has been tried, or has no place for one more. What is chosen must be
        reserved before the next await. may_crowd: it is not to wait for a place."""
        candidates = self.endpoints.candidates(request.model, _untried(tried, is_fit))
        candidates = self._with_place(candidates, may_crowd=may_crowd)
        if not candidates:
            return None
        policy = self._policy(request)
        scores = policy.score(candidates, request)
        chosen = pick(scores, self._lots)
        policy.chosen(chosen.endpoint, request)
        self._knowledge.prefixes.sent(chosen.endpoint, request)
        self._knowledge.demand.routed(chosen.endpoint, request)
        num_missing = request.num_prompt_tokens - chosen.num_cached_tokens
        work = self._work(chosen, request, num_missing) if request.is_stream else None
        return Route(chosen, scores, num_missing, work)

    def _work(self, chosen: Score, request: RoutedRequest, num_missing: int) -> Work:
        times = self._knowledge.times
        rates = times.rates(chosen.endpoint, request.model)
        return times.work(chosen.endpoint, rates, num_missing, chosen.num_pending_tokens)

    def _with_place(self, candidates: list[Endpoint], *, may_crowd: bool) -> list[Endpoint]:
        """The limit on requests at an endpoint is the operator's, and hard. That it is busy it says itself:
        while another one is not, that one is asked; else a request waits here rather than there, if it may.
        """
        limit, now = self.room.limits.max_per_endpoint, self._clock()
        if limit and not may_crowd:
            candidates = [endpoint for endpoint in candidates if endpoint.load.num_requests < limit]
        calm = [endpoint for endpoint in candidates if not endpoint.is_busy(now)]
        return calm if calm or (self.room.is_open and not may_crowd) else candidates

    def is_known(self, model: str) -> bool:
        """Whether waiting for the model makes sense: somebody has it, or nobody has said what he has."""
        return bool(self.endpoints.serving(model)) or not self.endpoints.models

    def is_served(self, model: str, *, tried: Set[Endpoint] = frozenset()) -> bool:
        """Somebody could answer now, or when he is less busy."""
        return bool(self.endpoints.candidates(model, lambda endpoint: endpoint not in tried))

    def observe_first_token(self, route: Route, request: RoutedRequest, seconds: float) -> None:
        """The first token of an answer came so long after the request went out."""
        if route.work is not None:
            self._knowledge.times.observe(route.endpoint, request.model, route.work, seconds)
        self._knowledge.prefixes.computed(route.endpoint, request)

    def observe_whole(self, route: Route, request: RoutedRequest) -> None:
        """An answer that is no stream has come: so its prompt has been computed."""
        self._knowledge.prefixes.computed(route.endpoint, request)

    def nobody(self, request: RoutedRequest) -> ModelNotFoundError | OverloadedError:
        """Why there was no route, however long it was waited for."""
        if not self.is_known(request.model):
            return ModelNotFoundError(request.model, self.endpoints.models)
        endpoints = self.endpoints.serving(request.model) or self.endpoints.endpoints
        complaints = (
            "; ".join(f"{endpoint.name}: {endpoint.reason}" for endpoint in endpoints) or "there is none"
        )
        on_demand = self.endpoints.on_demand
        what = "No endpoint can be asked now"
        seconds = self._retry_after_seconds
        if self.is_served(request.model):
            what, seconds = "Every endpoint has enough to do", self.room.retry_after_seconds
        elif request.model in on_demand.names:
            what = f"{request.model} was not started within {on_demand.start_seconds:g} s"
        return OverloadedError(f"{what} ({complaints}).", retry_after_seconds=seconds)


def _untried(
    tried: Set[Endpoint], is_fit: Callable[[Endpoint], bool] | None
) -> Callable[[Endpoint], bool] | None:
    """None: anybody is fit."""
    if not tried:
        return is_fit
    return lambda endpoint: endpoint not in tried and (is_fit is None or is_fit(endpoint))
