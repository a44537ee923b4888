"""How a request comes in: its body read and decoded, its client watched, the end of the server told apart."""

from collections.abc import Callable, Coroutine
from typing import Any, Generic

from starlette.types import Receive, Scope, Send

from octavo.core.errors import EngineError, OverloadedError
from octavo.http.body import ClientGone, run_while_connected
from octavo.http.request_log import CLIENT_CLOSED_REQUEST, RequestRecord
from octavo.http.responses import send_error
from octavo.server.decoder import Body, BodyDecoder
from octavo.server.origin import Origin
from octavo.server.services import Services


class Intake(Generic[Body]):
    """An ASGI application that hands decoded requests, and where their answers go, to `answer`; a client that
    goes away cancels it. Errors before the first byte are raised; app.py answers them."""

    def __init__(
        self,
        decoder: BodyDecoder[Body],
        services: Services,
        answer: Callable[[Body, RequestRecord, Send, Origin], Coroutine[Any, Any, None]],
    ) -> None:
        self._decoder = decoder
        self._services = services
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services = self._services
        if services.drain.has_begun:
            await send_error(send, services.drain.answer())
            return
        record = RequestRecord.of(scope)
        try:
            body = await services.read_body(scope, receive)
            decoded = self._decoder.decode(body, **_implied(scope))
            record.note(decoded.recorded, decoded.unknown)
            origin = Origin.of(scope, services.secret, services.wall_clock())
            await run_while_connected(receive, self._answer(decoded.request, record, send, origin))
        except ClientGone:
            record.status = CLIENT_CLOSED_REQUEST
        except (EngineError, OverloadedError) as error:
            if services.drain.has_begun:
                await send_error(send, services.drain.answer())
            elif services.is_ending():  # the engine is gone for good: not this request's fault
                await send_error(send, services.drain.answer(str(error)))
            else:
                raise


def _implied(scope: Scope) -> dict[str, str]:
    """On Azure's paths the deployment's name is the model's."""
    deployment = scope.get("path_params", {}).get("deployment")
    return {} if deployment is None else {"model": deployment}
