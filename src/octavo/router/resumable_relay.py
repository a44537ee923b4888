"""Streams of octavo replicas: another replica of the same card goes on where the client stands.

Marks are taken out, payloads are passed on whole, so the client always stands between two of them.
"""

import msgspec

from octavo.core.relay import (
    IDENTITY_HEADER,
    PREFIX_HEADER,
    RESUME_PATH,
    SECRET_HEADER,
    TENANT_HEADER,
    ErrorMark,
    Identity,
    Mark,
    MarkError,
    MarkReader,
    ReplicaCard,
)
from octavo.router.client_answer import ClientAnswer
from octavo.router.delivery import Asking, DeliveryLimits
from octavo.router.endpoints import Endpoint
from octavo.router.plain_relay import PlainRelay
from octavo.router.prefix_index import known_as
from octavo.router.recovery import AttemptFailed
from octavo.router.routed_request import RoutedRequest
from octavo.router.transcript import Transcript
from octavo.router.upstream import Question
from octavo.router.upstream_connection import Answer, UpstreamError

INEXACT = b": octavo: from here on another model\n\n"
RESUMABLE_PATHS = frozenset(("/v1/chat/completions", "/v1/completions"))


class ResumableRelay:
    def __init__(
        self,
        request: RoutedRequest,
        client: ClientAnswer,
        limits: DeliveryLimits,
        secret: str,
        *,
        may_be_inexact: bool = False,
    ) -> None:
        """may_be_inexact: where no replica of the same card is left, one of the same vocabulary will do."""
        self._request = request
        self._client = client
        self._limits = limits
        self._secret = secret.encode()
        self._identity = Identity.new()
        self._transcript = Transcript()
        self._card: ReplicaCard | None = None  # of the replica that gave the last tokens
        self._may_be_inexact = may_be_inexact
        self._is_lenient = False
        self._plain = PlainRelay(request, client, limits)

    @property
    def can_resume(self) -> bool:
        return self._card is not None

    @property
    def num_relayed_tokens(self) -> int:
        return self._transcript.num_tokens

    def fits(self, endpoint: Endpoint) -> bool:
        if self._card is None or endpoint.card == self._card:
            return True
        return self._is_lenient and endpoint.card is not None and endpoint.card.can_read(self._card)

    def be_lenient(self) -> bool:
        if self._is_lenient or not self._may_be_inexact or not self._request.is_plain_text:
            return False
        self._is_lenient = True
        return True

    def why_not_resumable(self, endpoint: Endpoint) -> str:
        return self._plain.why_not_resumable(endpoint)

    def question(self, asking: Asking) -> Question:
        card = asking.card
        if card is None:
            return self._plain.question(asking)
        headers = [(SECRET_HEADER, self._secret)]
        if self._request.tenant is not None:
            headers.append((TENANT_HEADER, self._request.tenant.encode()))
        path, body = self._request.path, self._request.body
        if self._card is None:
            headers += [
                (IDENTITY_HEADER, self._identity.header),
                (PREFIX_HEADER, known_as(self._request).header),
            ]
        else:
            path = RESUME_PATH
            resumption = self._transcript.resumption(
                self._request, self._card, self._identity, is_inexact=self._card != card
            )
            body = msgspec.json.encode(resumption)
        seconds = self._limits.first_token if self._request.is_stream else self._limits.total
        return Question(
            "POST", path, headers, body, seconds,
            lines=self._request.forwarded_lines, takes_channel=self._request.is_stream,
        )  # fmt: skip

    async def carry(self, answer: Answer, asking: Asking) -> None:
        card = asking.card
        if card is None:
            await self._plain.carry(answer, asking)
        elif answer.status == 200 and answer.is_event_stream:
            await self._relay(answer, asking, card)
        elif self._card is None:
            await self._plain.carry_whole(answer, asking)
        else:
            message = f"{asking.endpoint.name} answered {answer.status} to a resumption"
            raise AttemptFailed(f"status {answer.status}", message)

    def carry_at_once(self, answer: Answer, asking: Asking) -> bool:
        return self._card is None and self._plain.carry_at_once(answer, asking)

    async def _relay(self, answer: Answer, asking: Asking, card: ReplicaCard) -> None:
        client, limit = self._client, self._limits.inter_token
        stream = MarkedStream(client, self._transcript, asking)
        has_begun = False
        try:
            while await answer.pass_on(stream.take if has_begun else stream.hold, limit):
                if not has_begun:
                    await client.room()
                    self._begin(answer, asking, card)
                    stream.pass_on_held()
                    has_begun = True
                if stream.last_words is not None:
                    client.end_with(stream.last_words)
                    return
                await client.room()
        except UpstreamError:
            if not self._transcript.is_complete:
                raise
        if not self._transcript.is_complete:
            raise UpstreamError("cut", "the stream ended before the answer did")
        client.end()

    def _begin(self, answer: Answer, asking: Asking, card: ReplicaCard) -> None:
        """The first piece has come."""
        if not self._client.has_started:
            route = asking.route_header
            self._client.start(answer.status, answer.headers, route, is_event_stream=True)
        elif self._card != card:
            asking.attempt.is_exact = False
            self._client.write(INEXACT)
        self._card = card


class MarkedStream:
    """One replica's answer: pieces in, as they come, payloads out to the client."""

    __slots__ = ("_asking", "_has_progressed", "_held", "_outlet", "_reader", "_transcript", "last_words")

    def __init__(self, client: ClientAnswer, transcript: Transcript, asking: Asking) -> None:
        self.last_words: bytes | None = None  # an error that ends the answer; nothing is taken after it
        self._outlet = client.outlet
        self._transcript = transcript
        self._asking = asking
        self._has_progressed = False
        self._reader = MarkReader()
        self._held: list[tuple[Mark | ErrorMark, bytes]] = []

    def hold(self, data: bytes) -> bool:
        """What comes before the answer's head has left. Returns False for the first whole piece."""
        self._held += self._read(data)
        return not self._held

    def pass_on_held(self) -> None:
        held, self._held = self._held, []
        self._pass_on(held)

    def take(self, data: bytes) -> bool:
        """Pass it on. Returns False when the client does not keep up, or there are last words. Raises
        AttemptFailed, UpstreamError."""
        return self._pass_on(self._read(data)) and self.last_words is None

    def _read(self, data: bytes) -> list[tuple[Mark | ErrorMark, bytes]]:
        try:
            return self._reader.feed(data)
        except MarkError as error:
            raise UpstreamError("garbage", str(error)) from None

    def _pass_on(self, pieces: list[tuple[Mark | ErrorMark, bytes]]) -> bool:
        """What has come at once leaves at once. Returns whether the client keeps up."""
        payloads = []
        try:
            for mark, payload in pieces:
                if isinstance(mark, ErrorMark):
                    self._end(mark, payload)
                    break
                payloads.append(payload)
                self._transcript.add(mark, payload)
                if mark.token_ids and not self._has_progressed:
                    self._progress(mark)
        finally:  # an end that is raised comes after what came before it
            data = b"".join(payloads)
            if data:
                self._outlet.write(data)
        return not self._outlet.is_behind

    def _progress(self, mark: Mark) -> None:
        self._has_progressed = self._asking.attempt.has_progressed = True
        self._asking.on_first_token(mark.num_cached_tokens)

    def _end(self, mark: ErrorMark, payload: bytes) -> None:
        if mark.is_resumable:
            raise AttemptFailed(
                "draining",
                f"{self._asking.endpoint.name} ended before the answer did",
                has_progressed=self._has_progressed,
            )
        self.last_words = payload
