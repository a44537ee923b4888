"""A whole server around a fake engine, or a simulated one; test_run.py has the process around it."""

import contextlib
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2

from octavo.engine.client import EngineClient
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
    transport = httpx2.ASGITransport(app=replica.app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://octavo") as client:
        yield client
