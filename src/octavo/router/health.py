"""Asks every endpoint, again and again, whether it can be asked, and which models it serves.

An endpoint that says no gets no new requests. One that says nothing, several times in a row, is lost: what is
under way there goes on elsewhere.
"""

import asyncio
import dataclasses
from collections.abc import Callable

import msgspec

from octavo.core.relay import MODEL_PATH, SECRET_HEADER, ReplicaCard
from octavo.http.body import UNREADABLE
from octavo.http.headers import Headers
from octavo.router.endpoints import Endpoint
from octavo.router.upstream_connection import Answer, UpstreamError

NO_SECRET = "the router has no OCTAVO_SECRET"
NO_REPLICA = "it is no octavo replica, or has another OCTAVO_SECRET than the router"
READY_PATHS = ("/readyz", "/health", "/v1/models")  # the first that an endpoint has is asked from then on
MAX_ANSWER_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class HealthLimits:
    interval_seconds: float = 2.0
    timeout_seconds: float = 5.0
    num_failures: int = 3  # probes in a row without an answer, until an endpoint is lost
    models_every: int = 15  # probes between two looks at its models


class _Models(msgspec.Struct):
    data: list[dict[str, object]]


class HealthMonitor:
    def __init__(
        self,
        *,
        api_key: str | None = None,
        secret: str | None = None,
        limits: HealthLimits = HealthLimits(),
        on_change: Callable[[Endpoint, str], None] = lambda endpoint, what: None,
    ) -> None:
        """secret: shared with octavo replicas, who tell with it what they are. on_change is told when an
        endpoint becomes ready, unready or lost."""
        self._limits = limits
        self._on_change = on_change
        self._headers: Headers = [(b"accept", b"application/json")]
        if api_key is not None:
            self._headers.append((b"authorization", f"Bearer {api_key}".encode()))
        if secret is not None:
            self._headers.append((SECRET_HEADER, secret.encode()))

    async def watch(self, endpoint: Endpoint) -> None:
        """Until cancelled."""
        probe = EndpointProbe(endpoint, self._headers, self._limits, self._on_change)
        while True:
            await probe.run()
            await asyncio.sleep(self._limits.interval_seconds)


class EndpointProbe:
    """What is known of one endpoint's health from the probes so far."""

    def __init__(
        self,
        endpoint: Endpoint,
        headers: Headers,
        limits: HealthLimits,
        on_change: Callable[[Endpoint, str], None],
    ) -> None:
        self._endpoint = endpoint
        self._headers = headers
        self._limits = limits
        self._on_change = on_change
        self._path_index = 0
        self._num_failures = 0
        self._num_probes = 0

    async def run(self) -> None:
        """Ask once and write down what follows."""
        try:
            status, body = await self._ask_ready()
            if status == 200:
                await self._look_at_models()
                self._num_failures = 0
                self._become("ready", "")
                return
            self._num_failures = 0
            self._become("unready", _reason(body) or f"its {READY_PATHS[self._path_index]} answers {status}")
        except (UpstreamError, *UNREADABLE) as error:
            self._num_failures += 1
            if self._num_failures >= self._limits.num_failures:
                self._become("lost", str(error))
            elif not self._endpoint.is_ready:
                self._endpoint.complaint = str(error)

    def _become(self, state: str, complaint: str) -> None:
        endpoint = self._endpoint
        was_ready, endpoint.is_ready = endpoint.is_ready, state == "ready"
        endpoint.complaint = complaint
        if state == "lost":
            endpoint.lose(complaint)
        if was_ready != endpoint.is_ready:
            self._on_change(endpoint, state)

    async def _ask_ready(self) -> tuple[int, bytes]:
        while True:
            status, body = await self._get(READY_PATHS[self._path_index])
            if status not in (404, 405) or self._path_index + 1 == len(READY_PATHS):
                return status, body
            self._path_index += 1

    async def _look_at_models(self) -> None:
        """When it comes up, and now and then."""
        endpoint = self._endpoint
        self._num_probes += 1
        if endpoint.is_ready and self._num_probes % self._limits.models_every:
            return
        await self._look_at_card()
        if endpoint.static_models:
            return
        status, body = await self._get("/v1/models")
        if status != 200:
            raise UpstreamError("garbage", f"its /v1/models answers {status}")
        cards = msgspec.json.decode(body, type=_Models).data
        endpoint.cards = {str(card["id"]): card for card in cards if isinstance(card.get("id"), str)}

    async def _look_at_card(self) -> None:
        endpoint = self._endpoint
        if not any(name == SECRET_HEADER for name, _ in self._headers):
            endpoint.why_foreign = NO_SECRET
            return
        status, body = await self._get(MODEL_PATH)
        endpoint.card = _card(body) if status == 200 else None
        endpoint.why_foreign = "" if endpoint.card is not None else NO_REPLICA

    async def _get(self, path: str) -> tuple[int, bytes]:
        """Raises UpstreamError, also when the whole takes too long."""
        seconds = self._limits.timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                answer: Answer = await self._endpoint.upstream.request(
                    "GET", path, self._headers, b"", seconds=seconds
                )
                try:
                    return answer.status, await answer.read_all(seconds, MAX_ANSWER_BYTES)
                finally:
                    answer.close()
        except TimeoutError:
            raise UpstreamError("timeout", f"no answer to GET {path} within {seconds:g} s") from None


def _card(body: bytes) -> ReplicaCard | None:
    """None: whoever answers so to any path is no replica."""
    try:
        return msgspec.json.decode(body, type=ReplicaCard)
    except UNREADABLE:
        return None


class _Unready(msgspec.Struct):
    reason: str = ""


def _reason(body: bytes) -> str:
    """What octavo's own /readyz gives as its reason."""
    try:
        return msgspec.json.decode(body, type=_Unready).reason
    except UNREADABLE:
        return ""
