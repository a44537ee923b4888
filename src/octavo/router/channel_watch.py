"""Keeps a channel open to each octavo replica, as long as it serves.

Without one, each stream comes on its own connection. After a replica was away it is asked at once. While it
is there:

    has none: 4xx, or what is no channel            asked again after ABSENCE_SECONDS
    busy, not answering, broken off                 soon, but each time after twice as long
"""

import asyncio
import contextlib

import msgspec

from octavo.core.channel import FrameError, Renewal
from octavo.core.relay import CHANNEL_HEADER, CHANNEL_PATH, SECRET_HEADER
from octavo.http.headers import Headers
from octavo.router.channel import Channel
from octavo.router.endpoints import Endpoint
from octavo.router.upstream import Upstream
from octavo.router.upstream_connection import Answer, UpstreamError

RETRY_SECONDS = 0.5
ABSENCE_SECONDS = 30.0  # at most, until a replica that serves without a channel is asked again
SILENCE_SECONDS = 10.0  # a replica gives a sign of life every second
MAX_ANSWER_BYTES = 1 << 16  # to a renewal


class NoChannel(Exception):
    """The replica has none: asked again it would say the same."""


class ChannelWatch:
    def __init__(
        self,
        secret: str,
        *,
        api_key: str | None = None,
        retry_seconds: float = RETRY_SECONDS,
        absence_seconds: float = ABSENCE_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self._headers: Headers = [(SECRET_HEADER, secret.encode())]
        if api_key is not None:
            self._headers.append((b"authorization", f"Bearer {api_key}".encode()))
        self._retry_seconds = retry_seconds
        self._absence_seconds = absence_seconds
        self._silence_seconds = silence_seconds

    async def keep(self, endpoint: Endpoint) -> None:
        """Until cancelled."""
        pause = self._retry_seconds
        while True:
            while not _serves(endpoint):
                pause = self._retry_seconds
                await asyncio.sleep(self._retry_seconds)
            since = asyncio.get_running_loop().time()
            try:
                await self._hold(endpoint)
            except (NoChannel, FrameError):
                pause = self._absence_seconds
            except UpstreamError:  # health.py says what is wrong with it
                if asyncio.get_running_loop().time() - since > self._absence_seconds:
                    pause = self._retry_seconds
            await self._wait(endpoint, pause)
            pause = min(2 * pause, self._absence_seconds)

    async def _wait(self, endpoint: Endpoint, seconds: float) -> None:
        """Or until it no longer serves: who comes back may be another one."""
        end = asyncio.get_running_loop().time() + seconds
        while _serves(endpoint) and (left := end - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(left, self._retry_seconds))

    async def _hold(self, endpoint: Endpoint) -> None:
        """One channel, to its end. Raises NoChannel, UpstreamError, FrameError."""
        upstream, silence = endpoint.upstream, self._silence_seconds
        answer = await upstream.request("GET", CHANNEL_PATH, self._headers, b"", seconds=silence)
        try:
            await self._serve(answer, upstream)
        finally:
            answer.close()

    async def _serve(self, answer: Answer, upstream: Upstream) -> None:
        id = answer.header(CHANNEL_HEADER).decode("latin-1")
        if answer.status == 429 or answer.status >= 500:
            raise UpstreamError("busy", f"the channel was refused with {answer.status}")
        if answer.status != 200 or not id:
            raise NoChannel
        renewals = Renewals(id)
        channel = Channel(id, renewals.add)
        channel.feed(await answer.read(self._silence_seconds))  # a sign of life: nothing between us gathers
        telling = asyncio.create_task(renewals.tell(upstream, self._headers, self._silence_seconds))
        upstream.channel = channel
        try:
            while await answer.pass_on(channel.feed, self._silence_seconds):
                pass
            raise UpstreamError("cut", "the channel ended")
        finally:
            telling.cancel()
            upstream.channel = None
            channel.fail(UpstreamError("cut", "the channel of its streams was cut off"))


def _serves(endpoint: Endpoint) -> bool:
    return endpoint.is_ready and endpoint.card is not None


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
