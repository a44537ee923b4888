"""Stopping and logging of a process that serves HTTP."""

import asyncio
import gc
import io
import logging
import os
import resource
import signal

import pytest

from octavo.core.errors import StartError
from octavo.http.process import (
    COLLECT_AFTER,
    COLLECT_OLDER_AFTER,
    StopSignals,
    allow_connections,
    drain_notice,
    end_notice,
    say,
    set_up_logging,
    spare_the_collector,
    wait_for_any,
)


def test_who_waits_for_nobody_does_not_say_for_how_long() -> None:
    assert (drain_notice(30.0, 0), end_notice(0)) == ("shutting down", "stopped")
    assert drain_notice(0.5, 1) == "shutting down: up to 0.5 s for 1 request; Ctrl-C again stops at once"
    assert end_notice(2) == "stopped: 2 requests cut off"


def test_the_first_signal_asks_and_the_second_insists() -> None:
    async def scenario() -> None:
        signals = StopSignals()
        os.kill(os.getpid(), signal.SIGTERM)
        await signals.first.wait()
        assert not signals.second.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        await signals.second.wait()

    asyncio.run(scenario())


def test_waiting_ends_with_either_and_leaves_the_future_alone() -> None:
    async def scenario() -> None:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        event = asyncio.Event()
        event.set()
        await wait_for_any(future, event.wait())
        assert not future.done()
        future.set_result(1)
        await wait_for_any(future, asyncio.Event().wait())

    asyncio.run(scenario())


def test_what_nobody_hears_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who said it goes on with what it does: the router with watching the endpoint."""

    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Broken())
    say("endpoint r0 is lost")


def test_an_unknown_log_level_is_refused_by_name() -> None:
    with pytest.raises(StartError, match="OCTAVO_LOG is 'loud'; allowed: debug, info, warning, error"):
        set_up_logging("loud")


def test_uvicorn_is_never_more_talkative_than_warnings() -> None:
    set_up_logging("info")
    assert logging.getLogger("uvicorn").level == logging.WARNING


def test_as_many_files_may_be_open_as_the_system_allows() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, before[1]), before[1]))
    try:
        allow_connections()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_what_is_loaded_is_spared_by_the_collector() -> None:
    before = gc.get_threshold()
    try:
        spare_the_collector()
        assert gc.get_freeze_count() and gc.get_threshold() == (COLLECT_AFTER, *COLLECT_OLDER_AFTER)
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
