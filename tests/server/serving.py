"""A whole server around a fake engine, or a simulated one; test_run.py has the process around it."""

import contextlib
import pathlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
from starlette.types import ASGIApp, Receive, Scope, Send

from octavo.engine.client import EngineClient
from octavo.http.outlet import attach_outlet
from tests.engine import harness, sim_byte_engine
from tests.fakes import FakeEngine, FakeReplica, fake_replica
from tests.over_socket import over_socket

SIM_ENGINE = pathlib.Path(sim_byte_engine.__file__)


@contextlib.asynccontextmanager
async def serving(
    engine: FakeEngine | EngineClient, **options: Any
) -> AsyncIterator[tuple[FakeReplica, str]]:
    """(replica, its URL) while the server runs on a free port."""
    replica = fake_replica(engine, **options)
    await replica.readiness.record()
    async with over_socket(replica.app) as served:
        yield replica, served.url


@contextlib.asynccontextmanager
async def sim_engine(**config: int) -> AsyncIterator[EngineClient]:
    """The real engine, in a process of its own, on the `sim` back end."""
    async with harness.engine(program=SIM_ENGINE, **config) as client:
        yield client


@contextlib.asynccontextmanager
async def asgi_client(replica: FakeReplica) -> AsyncIterator[httpx2.AsyncClient]:
    """A client without a socket: answers come whole."""
    transport = httpx2.ASGITransport(app=_with_outlet(replica.app), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://octavo") as client:
        yield client


def _with_outlet(app: ASGIApp) -> ASGIApp:
    async def with_outlet(scope: Scope, receive: Receive, send: Send) -> None:
        attach_outlet(scope, _SentAtOnce(send))
        await app(scope, receive, send)

    return with_outlet


class _SentAtOnce:
    """An outlet over a send that never has to wait, as the one without a socket."""

    is_behind = is_gone = has_whole_request = False

    def __init__(self, send: Send) -> None:
        self._send = send
        self.on_room: Callable[[], None] = lambda: None
        self.on_gone: Callable[[], None] = lambda: None
        self.on_end: Callable[[], None] = lambda: None

    def open(self) -> None:
        pass

    def limit_silence(self, seconds: int) -> None:
        pass

    def abort(self) -> None:
        raise AssertionError("there is no connection")

    def write(self, data: bytes) -> None:
        sending = self._send({"type": "http.response.body", "body": data, "more_body": True}).__await__()
        assert next(sending, None) is None
