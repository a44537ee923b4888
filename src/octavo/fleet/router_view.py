"""What a fleet's router says of its endpoints: GET /debug/endpoints, asked by the supervisor."""

import asyncio

import msgspec

from octavo.http.body import UNREADABLE
from octavo.http.headers import Headers
from octavo.router.address import Address
from octavo.router.upstream import Upstream
from octavo.router.upstream_connection import UpstreamError

MAX_ANSWER_BYTES = 1 << 20


class Row(msgspec.Struct):
    """One endpoint, as the router sees it. requests: under way; received: ever; waiting: for its model."""

    name: str
    ready: bool
    requests: int
    received: int = 0
    waiting: int = 0


class RouterView:
    def __init__(self, url: str, *, api_key: str | None, seconds: float = 2.0) -> None:
        """seconds: how long the router may take to answer."""
        self._upstream = Upstream(Address.parse(url))
        self._headers: Headers = [] if api_key is None else [(b"authorization", f"Bearer {api_key}".encode())]
        self._seconds = seconds

    async def rows(self) -> list[Row] | None:
        """None: the router does not answer now."""
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._upstream.request(
                    "GET", "/debug/endpoints", self._headers, b"", seconds=self._seconds
                )
                try:
                    body = await answer.read_all(self._seconds, MAX_ANSWER_BYTES)
                finally:
                    answer.close()
            return msgspec.json.decode(body, type=list[Row])
        except (UpstreamError, TimeoutError, *UNREADABLE):
            return None

    def close(self) -> None:
        self._upstream.close()
