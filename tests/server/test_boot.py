"""The order in which a server process begins."""

import asyncio
import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from octavo.core.errors import StartError
from octavo.http.listener import listen
from octavo.server import boot, run
from tests.server.test_replica import options


class Supervisor:
    """In place of EngineSupervisor: an engine that takes as long as it is let."""

    def __init__(self) -> None:
        self.was_started = False
        self.was_cancelled = False

    async def start(self, config: object, environment: object) -> Any:
        self.was_started = True
        try:
            await asyncio.Event().wait()
        finally:
            self.was_cancelled = True


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    installed = Supervisor()
    monkeypatch.setattr(boot, "EngineSupervisor", installed)
    return installed


def at_port(port: int) -> Any:
    return dataclasses.replace(options(), server=dataclasses.replace(options().server, port=port))


def test_the_server_gets_an_engine_that_is_starting(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(*arguments: Any) -> int:
        engine = arguments[4]
        await asyncio.sleep(0)
        assert supervisor.was_started and not engine.done()
        return 7

    monkeypatch.setattr(run, "serve", serve)
    assert boot.run_server(at_port(0)) == 7
    assert supervisor.was_cancelled


def test_a_taken_port_is_known_before_an_engine_starts(supervisor: Supervisor) -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(StartError, match="port"):
        boot.run_server(at_port(taken.getsockname()[1]))
    assert not supervisor.was_started


def test_what_a_server_cannot_be_imported_for_ends_the_engine(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(boot, "pkgutil", SimpleNamespace(resolve_name=fail))
    with pytest.raises(ImportError, match=r"octavo\.server\.run:serve"):
        boot.run_server(at_port(0))
    assert supervisor.was_cancelled
