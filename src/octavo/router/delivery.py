"""One request's way to an answer: an endpoint is chosen and asked; if it fails in time, another one.

    begin, settle            what is most usual: the endpoint takes the question at once, and its answer comes
                             whole. No task is needed
    begin, run; or run       anything else, from where it stands

    before the first byte    any endpoint may take over
    after it                 a resumable stream goes on elsewhere; any other ends with an error that says so

recovery.py says what failures mean.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from octavo.core.relay import ReplicaCard
from octavo.http.errors import ErrorAnswer
from octavo.metrics.router_metrics import RouterMetrics
from octavo.router.client_answer import ClientAnswer
from octavo.router.decisions import Attempt, Decision
from octavo.router.endpoints import Endpoint
from octavo.router.load import Reservation
from octavo.router.recovery import BUSY, AttemptFailed, Recovery
from octavo.router.routed_request import RoutedRequest
from octavo.router.routing import Route, Router
from octavo.router.upstream import Question
from octavo.router.upstream_connection import Answer, Connection, UpstreamError


@dataclasses.dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """Seconds. first_token: to a stream's first byte; total: to the end of any answer."""

    first_token: float = 300.0
    inter_token: float = 30.0
    total: float = 3600.0


class Asking(msgspec.Struct):
    """One endpoint that is asked."""

    endpoint: Endpoint
    card: ReplicaCard | None  # as it was when this began
    attempt: Attempt
    route: Route
    route_header: bytes
    reservation: Reservation
    started: float  # on the clock
    observe_first_token: Callable[["Asking", int | None], None]
    observe_whole: Callable[["Asking", int | None], None]  # what was asked for has come, and is no stream
    exchange: Connection | None = None  # where the answer is awaited, if the question has left already

    def on_first_token(self, num_cached: int | None) -> None:
        """Of a stream. num_cached: of the prompt's tokens, if it is known."""
        self.observe_first_token(self, num_cached)


class Relay(Protocol):
    """How answers are carried from endpoints to the client; remembers what the client has."""

    def fits(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint can answer, or go on with, this request."""
        ...

    def be_lenient(self) -> bool:
        """There is nobody who can go on as if nothing had happened. Whether more endpoints fit now."""
        ...

    @property
    def can_resume(self) -> bool:
        """Whether an answer that has begun can go on elsewhere."""
        ...

    def why_not_resumable(self, endpoint: Endpoint) -> str:
        """Why an answer of the endpoint's cannot go on elsewhere."""
        ...

    @property
    def num_relayed_tokens(self) -> int: ...

    def question(self, asking: Asking) -> Question:
        """What the endpoint is to be asked."""
        ...

    def carry_at_once(self, answer: Answer, asking: Asking) -> bool:
        """Pass on an answer that has come whole. False: it is for carry()."""
        ...

    async def carry(self, answer: Answer, asking: Asking) -> None:
        """Relay to the end. Raises AttemptFailed, UpstreamError."""
        ...


class Delivery:
    def __init__(
        self,
        request: RoutedRequest,
        client: ClientAnswer,
        relay: Relay,
        *,
        router: Router,
        recovery: Recovery,
        metrics: RouterMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._request = request
        self._client = client
        self._relay = relay
        self._router = router
        self._recovery = recovery
        self._metrics = metrics
        self._clock = clock
        self._decision: Decision | None = None
        self._has_waited = False
        self._begun: Asking | None = None
        self.endpoints: list[str] = []  # asked, in order

    def begin(self, arrival: float) -> Connection | None:
        """Ask an endpoint, without a wait; arrival: when the request was whole, on the clock. Returns whence
        the answer will come, then settle() is to follow, or run(); or None, then run(): there is something to
        wait for. Raises InvalidRequestError; then nothing has begun."""
        self._decision = self._router.open(self._request)
        route = None if self._router.room.has_line(self._request.model) else self._next()
        if route is None:
            return None
        asking = self._begun = self._ask(route, self._decision, arrival)
        try:
            exchange = asking.exchange = asking.endpoint.upstream.ask_at_once(self._relay.question(asking))
        except BaseException:
            self.abandon()
            raise
        if exchange is not None:
            asking.endpoint.tie(exchange)
        return exchange

    def settle(self) -> bool:
        """What was begun is over, if the answer has come whole, and nothing else is to be done with it."""
        asking = self._begun
        assert asking is not None and asking.exchange is not None
        asking.endpoint.untie(asking.exchange)
        answer = asking.exchange.whole_answer
        try:
            if answer is None or not self._relay.carry_at_once(answer, asking):
                return False
        except BaseException:
            self.abandon()
            raise
        self._answered(asking)
        self._begun = None  # which knows of self
        return True

    def abandon(self) -> None:
        """What was begun is not wanted any more."""
        asking, self._begun = self._begun, None
        if asking is not None:
            if asking.exchange is not None:
                asking.exchange.abort()
            asking.endpoint.breaker.forget()
            self._end(asking, "abandoned")

    async def run(self, arrival: float) -> None:
        """Deliver an answer or an error. Raises OctavoError when there was nobody to ask."""
        decision = self._decision = self._decision or self._router.open(self._request)
        asking, self._begun = self._begun, None
        while True:
            if asking is None:
                route = await self._route(arrival)
                if route is None:
                    await self._give_up()
                    return
                asking = self._ask(route, decision, arrival)
            failure = await self._carry(asking)
            if failure is None:
                return
            if not self._may_go_on(failure, asking.endpoint):
                await self._give_up()
                return
            asking = None

    async def _route(self, arrival: float) -> Route | None:
        """The next endpoint to ask; None when there is nobody, and nobody is worth waiting for."""
        recovery, room, request = self._recovery, self._router.room, self._request
        if recovery.is_taken_up or not room.has_line(request.model):
            while True:
                route = self._next()
                if route is not None:
                    return route
                if not await recovery.next_round(is_resumption=self._is_resumption):
                    break
        if self._client.has_started:
            recovery.begin_round()
            return self._next() if self._is_resumption and self._relay.be_lenient() else None
        self._has_waited = True
        seconds = self._waiting_seconds()
        if seconds <= 0:
            return None
        if recovery.last is not None:
            await recovery.pause()  # who refused a connection may not have been missed yet
        return await room.wait(request, arrival, seconds, self._next)

    def _waiting_seconds(self) -> float:
        """How long after its arrival the request may wait: for its model to be started, or for a place."""
        router, room, recovery, model = self._router, self._router.room, self._recovery, self._request.model
        on_demand = router.endpoints.on_demand
        may_be_off = room.has_line(model) or not router.is_served(model, tried=recovery.tried)
        if model in on_demand.names and may_be_off:
            return on_demand.start_seconds
        return room.limits.seconds if recovery.may_queue and router.is_known(model) else 0.0

    def _next(self) -> Route | None:
        recovery, relay = self._recovery, self._relay
        is_fit = relay.fits if relay.can_resume else None  # nobody has begun: anybody may
        return self._router.route(
            self._request, tried=recovery.tried, is_fit=is_fit, may_crowd=recovery.is_taken_up
        )

    @property
    def _is_resumption(self) -> bool:
        """The client has a part of the answer, and another replica could go on with it."""
        return self._client.has_started and self._relay.can_resume

    def _ask(self, route: Route, decision: Decision, arrival: float) -> Asking:
        """From here on the endpoint owes an answer, until _answered() or _end()."""
        endpoint = route.endpoint
        is_first = not decision.attempts
        attempt = decision.add(route.score, route.scores, self._relay.num_relayed_tokens)
        self.endpoints.append(endpoint.name)
        self._metrics.observe_decision(decision.policy, endpoint.name, route.score.num_cached_tokens)
        start = self._clock()
        if is_first and not self._has_waited:
            self._metrics.observe_overhead(start - arrival)
        reservation = endpoint.reserved(route.num_missing_tokens)
        return Asking(
            endpoint, endpoint.card, attempt, route, decision.header, reservation, start,
            self._first_token, self._whole,
        )  # fmt: skip

    def _first_token(self, asking: Asking, num_cached: int | None) -> None:
        asking.reservation.first_token()
        asking.endpoint.breaker.first_token()
        seconds = self._clock() - asking.started
        self._router.observe_first_token(asking.route, self._request, seconds)
        asking.attempt.first_token_seconds = round(seconds, 4)
        self._observe_cached(asking.attempt, num_cached)

    def _whole(self, asking: Asking, num_cached: int | None) -> None:
        if self._request.prefix:
            self._router.observe_whole(asking.route, self._request)
        if num_cached is not None:
            self._observe_cached(asking.attempt, num_cached)

    def _observe_cached(self, attempt: Attempt, num_cached: int | None) -> None:
        attempt.num_cached_actual = num_cached
        if num_cached is not None and not attempt.num_resumed_tokens:
            assert self._decision is not None
            self._metrics.observe_cached(self._decision.policy, num_cached)

    async def _carry(self, asking: Asking) -> AttemptFailed | None:
        """To the answer's end. Returns what went wrong."""
        endpoint, attempt = asking.endpoint, asking.attempt
        try:
            with endpoint.lifeline():
                await self._relay_answer(asking)
        except UpstreamError as error:
            failure = AttemptFailed(error.reason, str(error), has_progressed=attempt.has_progressed)
        except AttemptFailed as error:
            failure = error
        except BaseException:
            endpoint.breaker.forget()
            self._end(asking, "abandoned")
            raise
        else:
            self._answered(asking)
            return None
        self._end(asking, failure.reason)
        self._blame(endpoint, failure)
        return failure

    async def _relay_answer(self, asking: Asking) -> None:
        exchange = asking.exchange
        if exchange is not None:
            answer = await exchange.answer()
        else:
            answer = await asking.endpoint.upstream.ask(self._relay.question(asking))
        try:
            await self._relay.carry(answer, asking)
        finally:
            answer.close()

    def _answered(self, asking: Asking) -> None:
        asking.endpoint.breaker.succeed()
        self._observe_recovery("answered" if asking.attempt.is_exact else "answered by another model")
        self._end(asking, "answered")

    def _end(self, asking: Asking, outcome: str) -> None:
        asking.attempt.outcome = outcome
        self._router.room.request_ended()
        asking.reservation.end()

    def _blame(self, endpoint: Endpoint, failure: AttemptFailed) -> None:
        """An endpoint that is full or drains is not broken."""
        if failure.reason == BUSY:
            endpoint.refused(self._clock())
        if failure.reason in (BUSY, "status 429", "draining"):
            endpoint.breaker.forget()
        elif endpoint.breaker.fail():
            self._metrics.observe_ejection(endpoint.name)

    def _may_go_on(self, failure: AttemptFailed, endpoint: Endpoint) -> bool:
        """Whether another endpoint is asked."""
        self._observe_recovery("failed again")
        self._recovery.observe(failure, endpoint)
        if self._client.has_started and not self._relay.can_resume:
            return False
        return self._recovery.may_try_again(is_resumption=self._is_resumption)

    def _observe_recovery(self, outcome: str) -> None:
        if self._recovery.last is not None:
            self._metrics.observe_failover(self._recovery.last.reason, outcome)

    async def _give_up(self) -> None:
        failure = self._recovery.last
        if failure is None:
            raise self._router.nobody(self._request)
        self._metrics.observe_failover(failure.reason, "gave up")
        if failure.answer is not None and not self._client.has_started:
            assert self._decision is not None
            whole = failure.answer
            await self._client.room()
            self._client.start(whole.status, whole.headers, self._decision.header)
            self._client.end(whole.body)
            return
        self._client.fail(self._error(failure))

    def _error(self, failure: AttemptFailed) -> ErrorAnswer:
        if self._recovery.is_suspect:
            return ErrorAnswer(
                "request_failed_repeatedly",
                f"This request was given up after two endpoints failed on it ({failure}).",
            )
        if self._relay.can_resume:
            return ErrorAnswer(
                "no_replica_to_resume",
                "The replica that gave this answer is gone, and none of the same model, numerics and context "
                f"could go on with it ({failure}).",
            )
        if self._client.has_started:
            assert self._recovery.last_endpoint is not None
            why = self._relay.why_not_resumable(self._recovery.last_endpoint)
            return ErrorAnswer(
                "endpoint_broke_off",
                f"The endpoint broke off this answer: {failure}. It cannot go on elsewhere: {why}.",
            )
        return ErrorAnswer("endpoint_failed", f"No endpoint answered: {failure}.")
