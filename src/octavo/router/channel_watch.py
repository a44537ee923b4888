"""Keeps a channel open to each octavo replica, as long as it serves.

Without one, each stream comes on its own connection.
"""

import asyncio
import contextlib

import msgspec

from octavo.core.channel import FrameError, Renewal
from octavo.core.relay import CHANNEL_HEADER, CHANNEL_PATH, SECRET_HEADER
from octavo.http.headers import Headers
from octavo.router.channel import Channel
from octavo.router.endpoints import Endpoint
from octavo.router.upstream import Upstream, UpstreamError

RETRY_SECONDS = 0.5
ABSENCE_SECONDS = 30.0  # until a replica that has no channels is asked again
MAX_ANSWER_BYTES = 1 << 16  # to a renewal
SILENCE_SECONDS = 10.0  # a replica gives a sign of life every second


class ChannelWatch:
    def __init__(
        self,
        secret: str,
        *,
        api_key: str | None = None,
        retry_seconds: float = RETRY_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self._headers: Headers = [(SECRET_HEADER, secret.encode())]
        if api_key is not None:
            self._headers.append((b"authorization", f"Bearer {api_key}".encode()))
        self._retry_seconds = retry_seconds
        self._silence_seconds = silence_seconds

    async def keep(self, endpoint: Endpoint) -> None:
        """Until cancelled."""
        while True:
            has_channels = True
            if endpoint.is_ready and endpoint.card is not None:
                with contextlib.suppress(UpstreamError, FrameError):  # health.py says what is wrong with it
                    has_channels = await self._hold(endpoint)
            await asyncio.sleep(self._retry_seconds if has_channels else ABSENCE_SECONDS)

    async def _hold(self, endpoint: Endpoint) -> bool:
        """One channel, to its end. Returns whether the replica has channels. Raises UpstreamError,
        FrameError."""
        upstream, silence = endpoint.upstream, self._silence_seconds
        answer = await upstream.request("GET", CHANNEL_PATH, self._headers, b"", seconds=silence)
        id = answer.header(CHANNEL_HEADER).decode("latin-1")
        if answer.status != 200 or not id:
            answer.close()
            return False
        renewals = Renewals(id)
        telling = asyncio.create_task(renewals.tell(upstream, self._headers, silence))
        channel = upstream.channel = Channel(id, renewals.add)
        try:
            while await answer.pass_on(channel.feed, silence):
                pass
        finally:
            telling.cancel()
            answer.close()
            upstream.channel = None
            channel.fail(UpstreamError("cut", "the channel of its streams was cut off"))
        return True


class Renewals:
    """Of one channel, on their way to the replica."""

    def __init__(self, id: str) -> None:
        self._id = id
        self._due: dict[int, int] = {}
        self._has_some = asyncio.Event()

    def add(self, number: int, num_bytes: int) -> None:
        self._due[number] = self._due.get(number, 0) + num_bytes
        self._has_some.set()

    async def tell(self, upstream: Upstream, headers: Headers, seconds: float) -> None:
        """Until cancelled, or the replica knows of none. A stream whose renewal is lost has its own
        connection in the end, and nothing else happens."""
        headers = [*headers, (b"content-type", b"application/json")]
        while True:
            await self._has_some.wait()
            self._has_some.clear()
            due, self._due = self._due, {}
            body = msgspec.json.encode(Renewal(self._id, due))
            with contextlib.suppress(UpstreamError):
                answer = await upstream.request("POST", CHANNEL_PATH, headers, body, seconds=seconds)
                await answer.read_all(seconds, MAX_ANSWER_BYTES)
                if answer.status != 204:
                    return
