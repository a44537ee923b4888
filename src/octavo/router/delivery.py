"""One request's way to an answer: an endpoint is chosen and asked; if it fails in time, another one.

    before the first byte    any endpoint may take over
    after it                 a resumable stream goes on elsewhere; any other ends with an error that says so

A request whose attempts die twice without having got anywhere may be what kills: it is not tried again.
"""

import asyncio
import dataclasses
import random
import time
from collections.abc import Callable
from typing import Protocol

from octavo.http.errors import ErrorAnswer
from octavo.metrics.router_metrics import RouterMetrics
from octavo.router.client_answer import ClientAnswer
from octavo.router.decisions import Attempt, Decision
from octavo.router.endpoints import Endpoint
from octavo.router.retry_budget import RetryBudget
from octavo.router.routed_request import RoutedRequest
from octavo.router.routing import Route, Router
from octavo.router.upstream import Headers, UpstreamError

MAX_DEATHS = 2  # of attempts that got nowhere
MAX_ATTEMPTS = 6
RETRY_SECONDS = 0.2  # between two looks for a replica that can go on
_FREE_OF_CHARGE = ("connect", "cut", "gone", "draining")  # retries of these make no overload worse
_DEADLY = ("cut", "timeout", "gone", "garbage", "status 500")


@dataclasses.dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """Seconds. first_token: to a stream's first byte; total: to the end of any answer."""

    first_token: float = 300.0
    inter_token: float = 30.0
    total: float = 3600.0


class AttemptFailed(Exception):
    """An endpoint did not answer. answer: what it said instead, to be passed on when nobody does better.

    reason: connect, cut, timeout, gone, garbage, draining, or `status N`. has_progressed: it gave at least
    one token, so this request is not what brought it down.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        answer: "WholeAnswer | None" = None,
        has_progressed: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.answer = answer
        self.has_progressed = has_progressed


@dataclasses.dataclass(frozen=True, slots=True)
class WholeAnswer:
    status: int
    headers: Headers
    body: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Asking:
    """What a relay needs to ask one endpoint."""

    endpoint: Endpoint
    attempt: Attempt
    route_header: bytes
    on_first_token: Callable[[int | None], None]  # prompt tokens that were cached, if it is known
    on_prompt_blocks: Callable[[bytes], None] = lambda blocks: None  # of which blocks the prompt is


class Relay(Protocol):
    """How answers are carried from endpoints to the client; remembers what the client has."""

    def fits(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint can answer, or go on with, this request."""
        ...

    @property
    def can_resume(self) -> bool:
        """Whether an answer that has begun can go on elsewhere."""
        ...

    @property
    def num_relayed_tokens(self) -> int: ...

    async def run(self, asking: Asking) -> None:
        """Ask, and relay to the end. Raises AttemptFailed, UpstreamError."""
        ...


class Delivery:
    def __init__(
        self,
        request: RoutedRequest,
        client: ClientAnswer,
        relay: Relay,
        *,
        router: Router,
        budget: RetryBudget,
        metrics: RouterMetrics,
        patience_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """patience_seconds: how long an answer that has begun waits for a replica that can go on with it."""
        self._request = request
        self._client = client
        self._relay = relay
        self._router = router
        self._budget = budget
        self._metrics = metrics
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._lots = random.Random()
        self._decision: Decision | None = None
        self._tried: set[Endpoint] = set()
        self._num_deaths = 0
        self._num_attempts = 0  # since there was progress
        self._start_deadline: float | None = None  # of the model, if it is started on demand
        self._last_failure: AttemptFailed | None = None
        self.endpoints: list[str] = []  # asked, in order

    async def run(self, arrival: float) -> None:
        """Deliver an answer or an error. arrival: when the request was whole, on the clock.

        Raises OctavoError when there was nobody to ask."""
        self._decision = self._router.open(self._request)
        self._budget.earn()
        while True:
            route = await self._route()
            if route is None:
                await self._give_up()
                return
            failure = await self._attempt(route, self._decision, arrival)
            if failure is None:
                return
            if not self._may_go_on(failure):
                await self._give_up()
                return

    async def _route(self) -> Route | None:
        """The next endpoint to ask. An answer that has begun waits a while for a replica to come back, and
        a request for a model that is started on demand until it has been."""
        route = self._router.route(self._request, tried=self._tried, is_fit=self._relay.fits)
        on_demand = self._router.endpoints.on_demand
        if route is not None:
            return route
        if self._client.has_started:
            return await self._wait_until(self._clock() + self._patience_seconds)
        if self._request.model in on_demand:
            self._start_deadline = self._start_deadline or self._clock() + on_demand.start_seconds
            self._num_attempts = 0  # it may have been about to be stopped when it was asked
            with on_demand.waiting(self._request.model):
                return await self._wait_until(self._start_deadline)
        return None

    async def _wait_until(self, deadline: float) -> Route | None:
        """Whoever failed before may have been started again."""
        route = None
        while route is None and self._clock() < deadline:
            await asyncio.sleep(RETRY_SECONDS * (0.5 + self._lots.random()))
            route = self._router.route(self._request, is_fit=self._relay.fits)
        return route

    async def _attempt(self, route: Route, decision: Decision, arrival: float) -> AttemptFailed | None:
        endpoint = route.endpoint
        is_first = not decision.attempts
        attempt = decision.add(route.score, route.scores, self._relay.num_relayed_tokens)
        self.endpoints.append(endpoint.name)
        self._metrics.observe_decision(decision.policy, endpoint.name, route.score.num_cached_tokens)
        start = self._clock()
        with endpoint.reserved(route.num_missing_tokens) as reservation:
            if is_first and self._start_deadline is None:
                self._metrics.observe_overhead(start - arrival)

            def on_first_token(num_cached: int | None) -> None:
                reservation.first_token()
                seconds = self._clock() - start
                self._router.observe_first_token(route, self._request, seconds)
                attempt.first_token_seconds = round(seconds, 4)
                attempt.num_cached_actual = num_cached
                if num_cached is not None and is_first:
                    self._metrics.observe_cached(decision.policy, num_cached)

            def on_prompt_blocks(joined: bytes) -> None:
                self._router.observe_blocks(self._request, joined)

            asking = Asking(endpoint, attempt, decision.header, on_first_token, on_prompt_blocks)
            try:
                async with endpoint.lifeline():
                    await self._relay.run(asking)
            except UpstreamError as error:
                failure = AttemptFailed(error.reason, str(error), has_progressed=attempt.has_progressed)
            except AttemptFailed as error:
                failure = error
            except BaseException:
                endpoint.breaker.forget()
                attempt.outcome = "abandoned"
                raise
            else:
                endpoint.breaker.succeed()
                attempt.outcome = "answered"
                self._observe_recovery("answered")
                return None
        self._blame(endpoint, failure)
        attempt.outcome = failure.reason
        return failure

    def _blame(self, endpoint: Endpoint, failure: AttemptFailed) -> None:
        """An endpoint that is full or drains is not broken."""
        if failure.reason in ("draining", "status 503", "status 429"):
            endpoint.breaker.forget()
        elif endpoint.breaker.fail():
            self._metrics.observe_ejection(endpoint.name)

    def _may_go_on(self, failure: AttemptFailed) -> bool:
        """Whether another endpoint is asked."""
        self._observe_recovery("failed again")
        self._last_failure = failure
        is_stranger = failure.reason in _DEADLY and not failure.has_progressed
        self._num_deaths = self._num_deaths + 1 if is_stranger else 0
        self._tried = {
            endpoint for endpoint in self._router.endpoints.endpoints if endpoint.name in self.endpoints
        }
        self._num_attempts += 1
        if failure.has_progressed:  # it is another request now: only the one that has just failed is left out
            self._tried = {endpoint for endpoint in self._tried if endpoint.name == self.endpoints[-1]}
            self._num_attempts = 0
        if self._client.has_started and not self._relay.can_resume:
            return False
        if self._num_deaths >= MAX_DEATHS or self._num_attempts >= MAX_ATTEMPTS:
            return False
        is_resumption = failure.has_progressed and self._relay.can_resume  # of what cost work already
        return is_resumption or failure.reason in _FREE_OF_CHARGE or self._budget.spend()

    def _observe_recovery(self, outcome: str) -> None:
        if self._last_failure is not None:
            self._metrics.observe_failover(self._last_failure.reason, outcome)

    async def _give_up(self) -> None:
        failure = self._last_failure
        if failure is None:
            raise self._router.nobody(self._request)
        self._metrics.observe_failover(failure.reason, "gave up")
        if failure.answer is not None and not self._client.has_started:
            assert self._decision is not None
            whole = failure.answer
            await self._client.start(whole.status, whole.headers, self._decision.header)
            await self._client.end(whole.body)
            return
        await self._client.fail(self._error(failure))

    def _error(self, failure: AttemptFailed) -> ErrorAnswer:
        if self._num_deaths >= MAX_DEATHS:
            return ErrorAnswer(
                "request_failed_repeatedly",
                f"This request was given up after {self._num_deaths} endpoints failed on it ({failure}).",
            )
        if self._relay.can_resume:
            return ErrorAnswer(
                "no_replica_to_resume",
                f"The replica that gave this answer is gone ({failure}), and there is no other one of the "
                "same model, numerics and context to go on with it.",
            )
        if self._client.has_started:
            return ErrorAnswer("endpoint_broke_off", f"The endpoint broke off this answer: {failure}.")
        return ErrorAnswer("endpoint_failed", f"No endpoint answered: {failure}.")
