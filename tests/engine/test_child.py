"""An engine process against signals, orphanhood and the end of its life."""

import asyncio
import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest
import uvloop

from octavo.config import EngineConfig
from octavo.core.messages import Abort
from octavo.engine.child import EngineChild, EngineConnection
from octavo.engine.supervisor import EngineSupervisor
from tests.engine.harness import (
    FAKE_ENGINE,
    NOWHERE,
    PATIENT,
    children,
    engine,
    expected,
    is_alive,
    read,
    read_on,
    submit,
    the_engine,
)

ROOT = pathlib.Path(__file__).parents[2]
ORPHAN_MAKER = """
import asyncio, os, sys
from tests.engine.fake_engine import HANGER
from tests.engine.harness import engine, read, submit, the_engine

async def main(is_hanging):
    async with engine() as client:
        if is_hanging:
            submit(client, 1, 10, HANGER)
            await asyncio.sleep(0.1)  # the engine reads its socket no more
        else:
            await read(submit(client, 1, 4000), 5)
        print(the_engine(), flush=True)
        os.kill(os.getpid(), 9)

asyncio.run(main("hanging" in sys.argv))
"""


@pytest.mark.asyncio
async def test_the_engine_ignores_the_signals_that_are_its_parents_business() -> None:
    async with engine() as client:
        stream = submit(client, 1, 100)
        begun = await read(stream, 5)
        for ignored in (signal.SIGTERM, signal.SIGINT):
            os.kill(the_engine(), ignored)
        assert await read_on(stream) == expected(1, 100)[len(begun) :]
        assert client.num_restarts == 0


@pytest.mark.asyncio
@pytest.mark.parametrize("state", ["working", "hanging"])
async def test_the_engine_dies_with_its_parent(state: str) -> None:
    python_path = os.pathsep.join(str(ROOT / folder) for folder in ("src", ""))
    parent = subprocess.run(
        [sys.executable, "-c", ORPHAN_MAKER, state],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": python_path},
        text=True,
        check=False,
    )
    assert parent.returncode == -signal.SIGKILL
    orphan = int(parent.stdout)
    while is_alive(orphan):
        await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_an_engine_whose_parent_died_before_it_could_tell_does_not_start() -> None:
    arguments = ("--fd=0", "--journal-fd=0", "--epoch=0", "--parent-pid=1", "--niceness=0")
    engine = subprocess.run(
        (sys.executable, "-m", "tests.engine.fake_engine", "work", *arguments),
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "src"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert engine.returncode == 1
    assert "is gone" in engine.stderr


@pytest.mark.asyncio
async def test_the_engine_has_the_priority_that_the_server_was_started_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server lowers its own when it serves, and whoever starts it may have lowered both."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    lowered = ("nice", "-n", "5", sys.executable)
    raising = subprocess.run(
        [*lowered, "-c", f"import os; os.setpriority(os.PRIO_PROCESS, 0, {before + 3})"],
        check=False,
        stderr=subprocess.DEVNULL,
    )
    is_allowed = raising.returncode == 0
    for niceness, found in ((before + 3, before + 3 if is_allowed else before + 5), (before + 7, before + 5)):
        monkeypatch.setattr(os, "getpriority", lambda *_, value=niceness: value)
        starting = EngineSupervisor.start(
            EngineConfig(), NOWHERE, command=(*lowered, str(FAKE_ENGINE), "work"), limits=PATIENT
        )
        client = await starting
        monkeypatch.undo()
        assert os.getpriority(os.PRIO_PROCESS, the_engine()) == found
        await client.close()


@pytest.mark.asyncio
async def test_end_kills_a_stopped_child_and_leaves_no_zombie() -> None:
    child = EngineChild.spawn((sys.executable, "-c", "import time; time.sleep(1000)"), 0, 1)
    assert not child.is_stopped
    os.kill(child.pid, signal.SIGSTOP)
    while not child.is_stopped:
        await asyncio.sleep(0.001)
    await child.end()
    assert child.exit_code.result() == -signal.SIGKILL
    assert not children()
    assert not child.is_stopped


@pytest.mark.asyncio
async def test_ctrl_c_cannot_hit_a_child_that_is_still_starting() -> None:
    program = "import signal; raise SystemExit(len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))"
    child = EngineChild.spawn((sys.executable, "-c", program), 0, 1)
    assert await child.exit_code == len((signal.SIGINT, signal.SIGTERM))
    await child.end()
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGINT, signal.SIGTERM}


@pytest.mark.asyncio
async def test_a_command_that_does_not_exist() -> None:
    with pytest.raises(FileNotFoundError):
        EngineChild.spawn(("/nowhere/engine",), 0, 1)


def test_a_message_to_an_engine_that_has_just_died_is_lost_and_nothing_else() -> None:
    """With the server's own event loop, whose transports refuse it."""

    async def send_to_nobody() -> None:
        ours, theirs = socket.socketpair()
        theirs.close()
        connection = EngineConnection(lambda message: None)
        await asyncio.get_running_loop().create_unix_connection(lambda: connection, sock=ours)
        await connection.closed
        connection.send(Abort(["gone"]))

    uvloop.run(send_to_nobody())
