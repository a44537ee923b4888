"""What an operator may do to a running router, on a listener of its own with a key of its own."""

import dataclasses
from typing import Annotated

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from octavo.core.errors import ECHO_LIMIT, InvalidRequestError
from octavo.http.access import Access
from octavo.http.body import UNREADABLE, not_json, read_json_body
from octavo.http.errors import HttpError
from octavo.http.gate import Gate
from octavo.http.request_log import RequestLog
from octavo.http.responses import exception_handlers, json_response
from octavo.router.endpoints import Endpoint, EndpointSet
from octavo.router.membership import EndpointSpec, Membership

SOURCE = "admin"
MAX_BODY_BYTES = 1 << 16
BODY_SECONDS = 10.0

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class NewEndpoint(msgspec.Struct, forbid_unknown_fields=True):
    url: _Text
    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    models: Annotated[tuple[_Text, ...], msgspec.Meta(max_length=100)] = ()
    standby: bool = False


def build_admin(endpoints: EndpointSet, membership: Membership, access: Access, log: RequestLog) -> ASGIApp:
    admin = Admin(endpoints, membership)
    app = Starlette(
        routes=[
            Route("/endpoints", admin.list),
            Route("/endpoints", admin.add, methods=["POST"]),
            Route("/endpoints/{name}", admin.remove, methods=["DELETE"]),
            Route("/endpoints/{name}/drain", admin.drain, methods=["POST"]),
            Route("/endpoints/{name}/resume", admin.resume, methods=["POST"]),
        ],
        exception_handlers=exception_handlers(),
    )
    app.router.redirect_slashes = False
    return Gate(app, access, log)


@dataclasses.dataclass(frozen=True, slots=True)
class Admin:
    endpoints: EndpointSet
    membership: Membership

    async def list(self, request: Request) -> Response:
        return json_response([endpoint.description for endpoint in self.endpoints.endpoints])

    async def add(self, request: Request) -> Response:
        body = await read_json_body(
            request.scope, request.receive, max_bytes=MAX_BODY_BYTES, timeout_seconds=BODY_SECONDS
        )
        try:
            new = msgspec.json.decode(body, type=NewEndpoint)
        except msgspec.ValidationError as error:
            raise InvalidRequestError(f"The endpoint cannot be read: {error}.") from None
        except UNREADABLE as error:
            raise not_json(error) from None
        endpoint = self.membership.add(EndpointSpec(new.url, new.name, new.models, new.standby), SOURCE)
        return json_response(endpoint.description, status=201)

    async def remove(self, request: Request) -> Response:
        """It leaves when what it has under way has ended; 202 says that this may take a while."""
        endpoint = self._named(request)
        self.membership.remove(endpoint)
        return json_response(endpoint.description, status=202)

    async def drain(self, request: Request) -> Response:
        """It gets nothing new, and stays."""
        endpoint = self._named(request)
        endpoint.is_draining = True
        return json_response(endpoint.description)

    async def resume(self, request: Request) -> Response:
        """The end of a drain."""
        endpoint = self._named(request)
        if not self.membership.is_member(endpoint):
            raise InvalidRequestError(f"{endpoint.name} is leaving; add it again when it is gone.")
        endpoint.is_draining = False
        return json_response(endpoint.description)

    def _named(self, request: Request) -> Endpoint:
        name = request.path_params["name"]
        endpoint = self.membership.get(name)
        if endpoint is None:
            names = ", ".join(one.name for one in self.endpoints.endpoints) or "none"
            raise HttpError("not_found", f"There is no endpoint {name[:ECHO_LIMIT]!r}; there are: {names}.")
        return endpoint
