"""The router's generation endpoint: a body in, an answer of some endpoint out. Raw ASGI.

Errors before the first byte are raised and answered by app.py.
"""

import asyncio
import dataclasses
import time
from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from octavo.http.body import ClientGone, read_json_body, run_while_connected
from octavo.http.errors import ErrorAnswer, overloaded
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
        self._is_cut_off = False
        self._scopes: set[asyncio.Timeout] = set()  # of the answers under way
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
        self._is_cut_off = True
        now = asyncio.get_running_loop().time()
        for scope in self._scopes:
            scope.reschedule(now)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._is_draining:
            await send_error(send, SHUTTING_DOWN)
            return
        self.num_running += 1
        self._is_idle.clear()
        try:
            await self._serve(scope, receive, send)
        except ClientGone:
            RequestRecord.of(scope).status = CLIENT_CLOSED_REQUEST
        finally:
            self.num_running -= 1
            if not self.num_running:
                self._is_idle.set()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
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
            deployment=scope["path_params"].get("deployment"),
        )
        self._budget.earn()
        client = ClientAnswer(send)
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
            await run_while_connected(receive, self._deliver(delivery, client, arrival))
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
        seconds = self._limits.delivery.total
        scope = asyncio.timeout(seconds)
        self._scopes.add(scope)
        try:
            async with scope:
                await delivery.run(arrival)
        except TimeoutError:
            if not scope.expired():
                raise
            message = f"The answer was not complete within {seconds:g} seconds."
            late = ErrorAnswer("answer_timeout", message)
            await client.fail(SHUTTING_DOWN if self._is_cut_off else late)
        finally:
            self._scopes.discard(scope)
