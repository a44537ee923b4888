"""Whom an answer is for: a client of this server, or a router that may have to go on with it elsewhere; and
whose request it is.
"""

import dataclasses
import hmac
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import Scope

from octavo.core.channel import Ticket
from octavo.core.relay import (
    CHANNEL_HEADER,
    IDENTITY_HEADER,
    PREFIX_HEADER,
    SECRET_HEADER,
    TENANT_HEADER,
    ChoiceProgress,
    Identity,
    PromptPrefix,
)
from octavo.http.request_log import RequestRecord

_SCOPE_KEY = "octavo.origin"


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """is_relayed: a router reads the stream, so it has marks. progress: what its client has, by choice.
    tenant: the name of the key that this server was given, or a trusted router; "" without keys. prefix: how
    that router knows the prompt. ticket: by which of its channels it wants the stream.
    """

    identity: Identity
    is_relayed: bool = False
    progress: Mapping[int, ChoiceProgress] = dataclasses.field(default_factory=dict)
    tenant: str = ""
    prefix: PromptPrefix | None = None
    ticket: Ticket | None = None

    @classmethod
    def of(cls, scope: Scope, secret: str | None, now: float) -> "Origin":
        """The resumption attached to the scope, or what a trusted router's header says, or a new identity."""
        headers = Headers(scope=scope) if is_trusted(scope, secret) else Headers()
        record = RequestRecord.of(scope)
        record.key_id = headers.get(TENANT_HEADER.decode()) or record.key_id
        tenant = record.key_id or ""
        ticket = None  # a proxy between us that speaks HTTP/1.0 may end a connection in place of one cut off
        if scope["http_version"] != "1.0":
            ticket = Ticket.parse(headers.get(CHANNEL_HEADER.decode(), ""))
        attached: Origin | None = scope.get(_SCOPE_KEY)
        if attached is not None:
            return dataclasses.replace(attached, tenant=tenant, ticket=ticket)
        identity = Identity.parse(headers.get(IDENTITY_HEADER.decode(), ""))
        if identity is None:
            return cls(Identity.new(now), tenant=tenant)
        prefix = PromptPrefix.parse(headers.get(PREFIX_HEADER.decode(), ""))
        return cls(identity, is_relayed=True, tenant=tenant, prefix=prefix, ticket=ticket)

    def cache_salt(self, given: str | None, *, is_shared: bool) -> str:
        """Who may share prefix-cache blocks: those with the same salt. No salt that a client gives makes it
        another tenant's. is_shared: between tenants that give the same one.
        """
        tenant = "" if is_shared else self.tenant
        return f"{len(tenant)}:{tenant}:{given or ''}" if tenant or given else ""

    def attached(self, scope: Scope) -> Scope:
        return {**scope, _SCOPE_KEY: self}


def is_trusted(scope: Scope, secret: str | None) -> bool:
    """Whether the request brings the secret that router and replicas share."""
    given = Headers(scope=scope).get(SECRET_HEADER.decode(), "")
    return secret is not None and hmac.compare_digest(given.encode("latin-1"), secret.encode())
