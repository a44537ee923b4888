"""Whom an answer is for: a client of this server, or a router that may have to go on with it elsewhere."""

import dataclasses
import hmac
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import Scope

from octavo.core.relay import IDENTITY_HEADER, SECRET_HEADER, ChoiceProgress, Identity

_SCOPE_KEY = "octavo.origin"


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """is_relayed: a router reads the stream, so it has marks. progress: what its client has, by choice."""

    identity: Identity
    is_relayed: bool = False
    progress: Mapping[int, ChoiceProgress] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, scope: Scope, secret: str | None, now: float) -> "Origin":
        """The resumption attached to the scope, or what a trusted router's header says, or a new identity."""
        attached: Origin | None = scope.get(_SCOPE_KEY)
        if attached is not None:
            return attached
        header = Headers(scope=scope).get(IDENTITY_HEADER.decode())
        identity = Identity.parse(header) if header and is_trusted(scope, secret) else None
        return cls(Identity.new(now)) if identity is None else cls(identity, is_relayed=True)

    def attached(self, scope: Scope) -> Scope:
        return {**scope, _SCOPE_KEY: self}


def is_trusted(scope: Scope, secret: str | None) -> bool:
    """Whether the request brings the secret that router and replicas share."""
    given = Headers(scope=scope).get(SECRET_HEADER.decode(), "")
    return secret is not None and hmac.compare_digest(given.encode(), secret.encode())
