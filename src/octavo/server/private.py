"""The replica's private surface, for a router with the shared secret; for anybody else it is not there."""

from collections.abc import Mapping

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from octavo.core.channel import Renewal
from octavo.core.errors import ECHO_LIMIT, InvalidRequestError
from octavo.core.relay import ReplicaCard, Resumption
from octavo.http.body import UNREADABLE, read_json_body
from octavo.http.errors import HttpError
from octavo.http.request_log import RequestRecord
from octavo.http.responses import json_response
from octavo.server.origin import Origin, is_trusted
from octavo.server.services import Services

MAX_PROGRESS_BYTES = 64 << 20  # of a resumption, beside the request itself
MAX_RENEWAL_BYTES = 1 << 20


class PrivateSurface:
    def __init__(self, services: Services, endpoints: Mapping[str, ASGIApp]) -> None:
        """endpoints: what can be resumed, by path."""
        self._services = services
        self._endpoints = endpoints
        self._decoder = msgspec.json.Decoder(Resumption)

    @property
    def _card(self) -> ReplicaCard:
        info = self._services.engine.info
        return ReplicaCard(info.fingerprint, info.max_model_len, self._services.vocabulary)

    async def events(self, request: Request) -> Response:
        """What its prefix cache holds, and how that changes, until the router leaves."""
        self._check(request.scope)
        lines = self._services.cache.lines(self._services.is_ending)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def model(self, request: Request) -> Response:
        """Who this replica is."""
        self._check(request.scope)
        return json_response(self._card)

    def _check(self, scope: Scope) -> None:
        if not is_trusted(scope, self._services.secret):
            raise HTTPException(404)

    async def channel(self, scope: Scope, receive: Receive, send: Send) -> None:
        """By which the router's streams leave, until it does."""
        self._check(scope)
        outlet = RequestRecord.of(scope).stream_outlet()
        await self._services.channels.serve(outlet, receive, send, self._services.is_ending)

    async def renew(self, request: Request) -> Response:
        """What the router has passed on of a channel's streams may be followed by as much."""
        self._check(request.scope)
        body = await read_json_body(
            request.scope,
            request.receive,
            max_bytes=MAX_RENEWAL_BYTES,
            timeout_seconds=self._services.body_timeout_seconds,
        )
        try:
            self._services.channels.renew(msgspec.json.decode(body, type=Renewal))
        except UNREADABLE as error:
            raise InvalidRequestError(f"The renewal cannot be read: {error}.") from None
        return Response(status_code=204)

    async def known_answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A completion that no client asked for."""
        self._check(scope)
        await self._endpoints["/v1/completions"](scope, receive, send)

    async def resume(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Go on with an answer that another replica began, where its client stands."""
        services = self._services
        self._check(scope)
        body = await read_json_body(
            scope,
            receive,
            max_bytes=services.max_body_bytes + MAX_PROGRESS_BYTES,
            timeout_seconds=services.body_timeout_seconds,
        )
        resumption = self._decode(body)
        progress = {choice.index: choice for choice in resumption.choices}
        origin = Origin(resumption.identity, is_relayed=True, progress=progress)
        await self._endpoints[resumption.path](
            origin.attached(_without_length(scope)), _Replayed(bytes(resumption.request), receive), send
        )

    def _decode(self, body: bytes) -> Resumption:
        """Raises InvalidRequestError, HttpError: another replica's answer cannot go on here."""
        try:
            resumption = self._decoder.decode(body)
        except UNREADABLE as error:
            raise InvalidRequestError(f"The resumption cannot be read: {error}.") from None
        if resumption.path not in self._endpoints:
            raise InvalidRequestError(
                f"path is {resumption.path[:ECHO_LIMIT]!r}; it cannot be resumed.", param="path"
            )
        is_readable = resumption.is_inexact and self._card.can_read(resumption.card)
        if resumption.card != self._card and not is_readable:
            raise HttpError(
                "resume_mismatch", f"The answer was begun by {resumption.card}; this is {self._card}."
            )
        return resumption


class PrivateEndpoint:
    """A method of PrivateSurface as an ASGI application, which Starlette knows by its class."""

    def __init__(self, method: ASGIApp) -> None:
        self._method = method

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._method(scope, receive, send)


class _Replayed:
    """A Receive that gives the request's own body first, then what really comes: that the router leaves."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        body, self._body = self._body, None
        if body is None:
            return await self._receive()
        return {"type": "http.request", "body": body, "more_body": False}


def _without_length(scope: Scope) -> Scope:
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
    return {**scope, "headers": headers}
