"""Keeps a channel open to each octavo replica, as long as it serves.

Without one, each stream comes on its own connection.
"""

import asyncio
import contextlib

from octavo.core.channel import FrameError
from octavo.core.relay import CHANNEL_HEADER, CHANNEL_PATH, SECRET_HEADER
from octavo.http.headers import Headers
from octavo.router.channel import Channel
from octavo.router.endpoints import Endpoint
from octavo.router.upstream import UpstreamError

RETRY_SECONDS = 0.5
ABSENCE_SECONDS = 30.0  # until a replica that has no channels is asked again
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
        channel = upstream.channel = Channel(id)
        try:
            while await answer.pass_on(channel.feed, silence):
                pass
        finally:
            answer.close()
            upstream.channel = None
            channel.fail(UpstreamError("cut", "the channel of its streams was cut off"))
        return True
