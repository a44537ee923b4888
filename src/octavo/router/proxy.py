"""The router's generation endpoint: a body in, an answer of some endpoint out, or an error. Raw ASGI."""

import asyncio
import dataclasses
import functools
import time
from collections.abc import Callable, Coroutine

import msgspec
from starlette.types import Receive, Scope, Send

from octavo.core.errors import OctavoError
from octavo.http.body import ClientGone, check_is_json, read_json_body
from octavo.http.errors import ErrorAnswer, answer_to, shutting_down
from octavo.http.interruption import Interruptible, Interruption, Lifetimes
from octavo.http.outlet import AnswerOutlet
from octavo.http.repeated_head import once
from octavo.http.request_log import CLIENT_CLOSED_REQUEST, RequestRecord
from octavo.metrics.router_metrics import RouterMetrics
from octavo.router.client_answer import ClientAnswer
from octavo.router.delivery import Delivery, DeliveryLimits, Relay
from octavo.router.plain_relay import PlainRelay
from octavo.router.recovery import Recovery
from octavo.router.resumable_relay import RESUMABLE_PATHS, ResumableRelay
from octavo.router.retry_budget import RetryBudget
from octavo.router.routed_head import RoutedHead
from octavo.router.routed_request import RequestReader, RoutedRequest
from octavo.router.routing import Router

SHUTTING_DOWN = shutting_down("The router is shutting down.")


@dataclasses.dataclass(frozen=True, slots=True)
class ProxyLimits:
    delivery: DeliveryLimits = dataclasses.field(default_factory=DeliveryLimits)
    max_body_bytes: int = 32 << 20
    body_seconds: float = 30.0
    may_be_inexact: bool = False  # another model may go on with a stream of plain text
    patience_seconds: float = 10.0  # of a request whose replica was lost, for another one


class CutShort(Exception):
    """An answer ends before it is complete, with this instead of the rest."""

    def __init__(self, answer: ErrorAnswer) -> None:
        super().__init__(answer.message)
        self.answer = answer


class Proxy:
    def __init__(
        self,
        router: Router,
        reader: RequestReader,
        metrics: RouterMetrics,
        *,
        secret: str | None = None,
        limits: ProxyLimits = ProxyLimits(),
        budget: RetryBudget | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """secret: shared with octavo replicas; without it no stream outlives its endpoint."""
        self._secret = secret
        self._router = router
        self._reader = reader
        self._metrics = metrics
        self._limits = limits
        self._budget = budget or RetryBudget()
        self._clock = clock
        self._is_draining = False
        self._answers = Lifetimes(limits.delivery.total, self._late)  # those under way
        self._is_idle = asyncio.Event()  # kept while it drains
        self.num_running = 0

    @property
    def is_draining(self) -> bool:
        return self._is_draining

    async def drain(self, seconds: float) -> None:
        """Take no more requests; return when the others have ended, or after seconds."""
        self._is_draining = True
        if not self.num_running:
            self._is_idle.set()
        try:
            await asyncio.wait_for(self._is_idle.wait(), seconds)
        except TimeoutError:
            return

    def cut_off(self) -> None:
        """The answers still under way end now, and say so."""
        self._answers.interrupt_all(CutShort(SHUTTING_DOWN))

    def _late(self) -> "CutShort":
        seconds = self._limits.delivery.total
        message = f"The answer was not complete within {seconds:g} seconds."
        return CutShort(ErrorAnswer("answer_timeout", message))

    def begin(self, scope: Scope, body: bytes, record: RequestRecord, on_end: Callable[[], None]) -> bool:
        """See gate.py. What is wrong with a request is said by __call__."""
        if self._is_draining:
            return False
        arrival, client = self._clock(), _client(record)
        try:
            if len(body) > self._limits.max_body_bytes:
                return False
            delivery = self._delivery(self._read(scope, body, record), client)
            exchange = delivery.begin(arrival)
        except Exception:
            return False
        self._enter()
        passage = Passage(delivery, client, record, arrival, on_end)
        if exchange is None:
            self._go_on(passage)
            return True
        exchange.on_news = functools.partial(self._settle, passage)
        self._watch(passage, exchange)
        return True

    def _watch(self, passage: "Passage", stretch: Interruptible) -> None:
        """From now on it may be interrupted, by its client or the time, in that stretch."""
        passage.stretch = stretch
        passage.client.outlet.on_gone = functools.partial(passage.interrupt, ClientGone())
        self._answers.begin(passage)

    def _settle(self, passage: "Passage") -> None:
        """There is an answer, or there will be none."""
        try:
            is_over = passage.delivery.settle()
        except Exception as error:  # a defect of ours: it is to go where those of tasks go
            self._go_on(passage, error)
            return
        if is_over:
            self._end(passage)
        else:
            self._go_on(passage)

    def _go_on(self, passage: "Passage", error: Exception | None = None) -> None:
        """In a task."""

        async def rest(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await self._guarded(self._deliver(passage, error), passage.client, passage.record)
            finally:
                self._end(passage)

        passage.client.outlet.go_on(rest)

    def _end(self, passage: "Passage") -> None:
        """Of what has begun without a task."""
        self._over(passage)
        self._leave()
        passage.on_end()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = RequestRecord.of(scope)
        client = _client(record)
        if self._is_draining:
            client.fail(SHUTTING_DOWN)
            return
        self._enter()
        try:
            await self._guarded(self._serve(scope, receive, client, record), client, record)
        finally:
            self._leave()

    async def _serve(
        self, scope: Scope, receive: Receive, client: ClientAnswer, record: RequestRecord
    ) -> None:
        limits = self._limits
        body = await read_json_body(
            scope, receive, max_bytes=limits.max_body_bytes, timeout_seconds=limits.body_seconds
        )
        arrival = self._clock()
        delivery = self._delivery(self._read(scope, body, record), client)
        passage = Passage(delivery, client, record, arrival)
        try:
            await self._deliver(passage)
        finally:
            self._over(passage)

    def _read(self, scope: Scope, body: bytes, record: RequestRecord) -> RoutedRequest:
        """Raises InvalidRequestError."""
        return self._reader.read(
            body,
            id=record.request_id,
            path=scope["path"],
            head=once(scope, self._read_head),
            tenant=record.key_id,
            deployment=scope.get("path_params", {}).get("deployment"),
        )

    def _read_head(self, scope: Scope) -> RoutedHead:
        """Raises HttpError, InvalidRequestError."""
        check_is_json(scope)
        return self._reader.read_head(scope)

    def _delivery(self, request: RoutedRequest, client: ClientAnswer) -> Delivery:
        self._budget.earn()
        return Delivery(
            request,
            client,
            self._relay(request, client),
            router=self._router,
            recovery=Recovery(self._budget, patience_seconds=self._limits.patience_seconds),
            metrics=self._metrics,
            clock=self._clock,
        )

    def _relay(self, request: RoutedRequest, client: ClientAnswer) -> Relay:
        if self._secret is not None and request.path in RESUMABLE_PATHS:
            return ResumableRelay(
                request,
                client,
                self._limits.delivery,
                self._secret,
                may_be_inexact=self._limits.may_be_inexact,
            )
        return PlainRelay(request, client, self._limits.delivery)

    async def _deliver(self, passage: "Passage", error: Exception | None = None) -> None:
        """Raises ClientGone, and error."""
        client, delivery = passage.client, passage.delivery
        if error is not None:
            raise error
        if client.outlet.is_gone:
            delivery.abandon()
            raise ClientGone
        try:
            with Interruption() as whole:
                if passage.stretch is None:
                    self._watch(passage, whole)
                passage.stretch = whole
                await delivery.run(passage.arrival)
        except CutShort as cut:
            client.fail(cut.answer)

    async def _guarded(
        self, work: Coroutine[None, None, None], client: ClientAnswer, record: RequestRecord
    ) -> None:
        try:
            await work
        except ClientGone:
            record.status = CLIENT_CLOSED_REQUEST
        except Exception as error:
            client.fail(answer_to(error))
            if not isinstance(error, OctavoError):
                raise  # a defect of ours: uvicorn logs it

    def _enter(self) -> None:
        self.num_running += 1

    def _leave(self) -> None:
        self.num_running -= 1
        if self._is_draining and not self.num_running:
            self._is_idle.set()

    def _over(self, passage: "Passage") -> None:
        self._answers.end(passage)
        passage.client.outlet.on_gone = _nobody_listens  # or a connection that lingers would keep the request
        passage.record.endpoints = tuple(passage.delivery.endpoints)


def _client(record: RequestRecord) -> ClientAnswer:
    outlet = record.stream_outlet()
    assert isinstance(outlet, AnswerOutlet), "http/connection.py gives every request one"
    return ClientAnswer(outlet, record.head, record.note_error)


def _nobody_listens() -> None:
    pass


class Passage(msgspec.Struct, eq=False):
    """One request under way. arrival: when it was whole, on the clock. stretch: what it is in now, if it has
    begun."""

    delivery: Delivery
    client: ClientAnswer
    record: RequestRecord
    arrival: float
    on_end: Callable[[], None] = _nobody_listens
    stretch: Interruptible | None = None

    def interrupt(self, error: Exception) -> None:
        if self.stretch is not None:
            self.stretch.interrupt(error)
