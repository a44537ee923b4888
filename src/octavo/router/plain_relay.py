"""Answers of any OpenAI-compatible server: a stream is passed on as it comes, anything else once it is whole.

Bytes are not changed. A stream cannot be resumed, since nothing says what made it; and one that ends before
its API's last words is taken to be broken off, however properly its connection ended.
"""

import msgspec

from octavo.router.client_answer import SAID_BY_ENDPOINT, ClientAnswer
from octavo.router.delivery import Asking, DeliveryLimits
from octavo.router.endpoints import Endpoint
from octavo.router.recovery import AttemptFailed, WholeAnswer
from octavo.router.routed_request import RoutedRequest
from octavo.router.stream_end import StreamEnd
from octavo.router.upstream import Question
from octavo.router.upstream_connection import Answer, UpstreamError
from octavo.router.usage import cached_tokens

MAX_WHOLE_BYTES = 64 << 20  # of an answer that is not streamed
RETRIED_STATUSES = frozenset((429, 500, 502, 503, 504))


class PlainRelay:
    can_resume = False
    num_relayed_tokens = 0

    def __init__(self, request: RoutedRequest, client: ClientAnswer, limits: DeliveryLimits) -> None:
        self._request = request
        self._client = client
        self._limits = limits

    def fits(self, endpoint: Endpoint) -> bool:
        return True

    def be_lenient(self) -> bool:
        return False

    def why_not_resumable(self, endpoint: Endpoint) -> str:
        return endpoint.why_foreign or f"answers to {self._request.path} are not resumed"

    def question(self, asking: Asking) -> Question:
        limits, request = self._limits, self._request
        seconds = limits.first_token if request.is_stream else limits.total
        return Question("POST", request.path, (), request.body, seconds, lines=request.forwarded_lines)

    async def carry(self, answer: Answer, asking: Asking) -> None:
        if answer.is_event_stream and answer.status == 200:
            await self._pass_on(answer, asking)
        else:
            await self.carry_whole(answer, asking)

    def carry_at_once(self, answer: Answer, asking: Asking) -> bool:
        if answer.is_event_stream or answer.status in RETRIED_STATUSES or self._client.outlet.is_behind:
            return False
        self._send(answer, answer.read_whole(), asking)
        return True

    async def _pass_on(self, answer: Answer, asking: Asking) -> None:
        client = self._client
        first = await answer.read(self._limits.first_token)
        if not first:
            raise UpstreamError("garbage", "the stream was empty")
        await client.room()
        client.start(answer.status, answer.headers, asking.route_header, is_event_stream=True)
        asking.attempt.has_progressed = True
        asking.on_first_token(None)
        end = StreamEnd(self._request.path)
        stream = PassedStream(client, end)
        stream.take(first)
        await client.room()
        try:
            while await answer.pass_on(stream.take, self._limits.inter_token):
                await client.room()
        except UpstreamError:
            if not end.has_last_words:
                raise
        if not end.has_come:
            raise UpstreamError("cut", "the stream ended before the answer did")
        if end.is_error:
            client.on_error(SAID_BY_ENDPOINT)
        client.end()

    async def carry_whole(self, answer: Answer, asking: Asking) -> None:
        """Raises AttemptFailed for a status that another endpoint may better."""
        body = await answer.read_all(self._limits.total, MAX_WHOLE_BYTES)
        if answer.ended_with_connection and answer.is_json and not _is_json(body):
            raise UpstreamError("cut", "the connection ended before the answer did")
        if answer.status in RETRIED_STATUSES:
            raise AttemptFailed(
                f"status {answer.status}",
                f"{asking.endpoint.name} answered {answer.status}",
                answer=WholeAnswer(answer.status, answer.headers, body),
            )
        await self._client.room()
        self._send(answer, body, asking)

    def _send(self, answer: Answer, body: bytes, asking: Asking) -> None:
        self._client.start(answer.status, answer.headers, asking.route_header)
        self._client.end(body)
        if answer.status == 200:
            asking.observe_whole(asking, cached_tokens(body))


class PassedStream:
    """Pieces in, as they come, and out to the client."""

    __slots__ = ("_end", "_outlet")

    def __init__(self, client: ClientAnswer, end: StreamEnd) -> None:
        self._outlet = client.outlet
        self._end = end

    def take(self, data: bytes) -> bool:
        """Returns whether the client keeps up."""
        self._end.see(data)
        outlet = self._outlet
        outlet.write(data)
        return not outlet.is_behind


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
