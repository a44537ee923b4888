"""The router's generation endpoint: a body in, an answer of some endpoint out, or an error. Raw ASGI."""

import asyncio
import dataclasses
import functools
import time
from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from octavo.core.errors import OctavoError
from octavo.http.body import ClientGone, read_json_body
from octavo.http.errors import ErrorAnswer, answer_to, overloaded
from octavo.http.interruption import Interruption, Lifetimes
from octavo.http.request_log import CLIENT_CLOSED_REQUEST, RequestRecord
from octavo.http.responses import send_error
from octavo.metrics.router_metrics import RouterMetrics
from octavo.router.client_answer import ClientAnswer
from octavo.router.delivery import Delivery, DeliveryLimits, Relay
from octavo.router.plain_relay import PlainRelay
from octavo.router.recovery import Recovery
from octavo.router.resumable_relay import RESUMABLE_PATHS, ResumableRelay
from octavo.router.retry_budget import RetryBudget
from octavo.router.routed_request import RequestReader, RoutedRequest
from octavo.router.routing import Router

SHUTTING_DOWN = overloaded("The router is shutting down.", "shutting_down", retry_after_seconds=5)


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
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self.num_running = 0

    @property
    def is_draining(self) -> bool:
        return self._is_draining

    async def drain(self, seconds: float) -> None:
        """Take no more requests; return when the others have ended, or after seconds."""
        self._is_draining = True
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._is_draining:
            await send_error(send, SHUTTING_DOWN)
            return
        self.num_running += 1
        self._is_idle.clear()
        client = ClientAnswer(send, RequestRecord.of(scope).stream_outlet())
        try:
            await self._serve(scope, receive, client)
        except ClientGone:
            RequestRecord.of(scope).status = CLIENT_CLOSED_REQUEST
        except Exception as error:
            await client.fail(answer_to(error))
            if not isinstance(error, OctavoError):
                raise  # a defect of ours: uvicorn logs it
        finally:
            self.num_running -= 1
            if not self.num_running:
                self._is_idle.set()

    async def _serve(self, scope: Scope, receive: Receive, client: ClientAnswer) -> None:
        record, limits = RequestRecord.of(scope), self._limits
        body = await read_json_body(
            scope, receive, max_bytes=limits.max_body_bytes, timeout_seconds=limits.body_seconds
        )
        arrival = self._clock()
        request = self._reader.read(
            body,
            id=record.request_id,
            path=scope["path"],
            headers=scope["headers"],
            tenant=record.key_id,
            deployment=scope.get("path_params", {}).get("deployment"),
        )
        self._budget.earn()
        delivery = Delivery(
            request,
            client,
            self._relay(request, client),
            router=self._router,
            recovery=Recovery(self._budget, patience_seconds=limits.patience_seconds),
            metrics=self._metrics,
            clock=self._clock,
        )
        try:
            await self._deliver(delivery, client, arrival)
        finally:
            record.endpoints = tuple(delivery.endpoints)

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

    async def _deliver(self, delivery: Delivery, client: ClientAnswer, arrival: float) -> None:
        """Raises ClientGone."""
        if client.outlet.is_gone:
            raise ClientGone
        try:
            with Interruption() as whole:
                client.outlet.on_gone = functools.partial(whole.interrupt, ClientGone())
                self._answers.begin(whole)
                try:
                    await delivery.run(arrival)
                finally:
                    self._answers.end(whole)
        except CutShort as error:
            await client.fail(error.answer)
