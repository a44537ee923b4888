"""Answers of any OpenAI-compatible server: a stream is passed on as it comes, anything else once it is whole.

Bytes are not changed. A stream cannot be resumed, since nothing says what made it.
"""

from octavo.router.client_answer import ClientAnswer
from octavo.router.delivery import Asking, DeliveryLimits
from octavo.router.endpoints import Endpoint
from octavo.router.recovery import AttemptFailed, WholeAnswer
from octavo.router.routed_request import RoutedRequest
from octavo.router.upstream import Answer, Headers, UpstreamError

MAX_WHOLE_BYTES = 64 << 20  # of an answer that is not streamed
RETRIED_STATUSES = frozenset((429, 500, 502, 503, 504))
# Of one connection, made anew for the next one; and what only a router may say to a replica.
_NOT_FORWARDED = frozenset(
    (b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"host",
     b"content-length", b"expect", b"x-request-id")
)  # fmt: skip


def forwarded(request: RoutedRequest) -> Headers:
    """The client's headers, for an endpoint."""
    kept = [
        (name, value)
        for name, value in request.headers
        if name not in _NOT_FORWARDED and not name.startswith(b"x-octavo-")
    ]
    kept.append((b"x-request-id", request.id.encode()))
    return kept


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

    async def run(self, asking: Asking) -> None:
        limits, request = self._limits, self._request
        answer = await asking.endpoint.upstream.request(
            "POST",
            request.path,
            forwarded(request),
            request.body,
            seconds=limits.first_token if request.is_stream else limits.total,
        )
        try:
            if answer.header(b"content-type").startswith(b"text/event-stream"):
                await self._pass_on(answer, asking)
            else:
                await self.relay_whole(answer, asking)
        finally:
            answer.close()

    async def _pass_on(self, answer: Answer, asking: Asking) -> None:
        client = self._client
        first = await answer.read(self._limits.first_token)
        if not first:
            raise UpstreamError("garbage", "the stream was empty")
        await client.start(answer.status, answer.headers, asking.route_header)
        asking.attempt.has_progressed = True
        asking.on_first_token(None)
        client.write(first)
        await client.room()
        while await answer.pass_on(client.write, self._limits.inter_token):
            await client.room()
        await client.end()

    async def relay_whole(self, answer: Answer, asking: Asking) -> None:
        """Raises AttemptFailed for a status that another endpoint may better."""
        body = await answer.read_all(self._limits.total, MAX_WHOLE_BYTES)
        if answer.status in RETRIED_STATUSES:
            raise AttemptFailed(
                f"status {answer.status}",
                f"{asking.endpoint.name} answered {answer.status}",
                answer=WholeAnswer(answer.status, answer.headers, body),
            )
        await self._client.start(answer.status, answer.headers, asking.route_header)
        await self._client.end(body)
