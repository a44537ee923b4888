"""Faults of a replica: how each is done, and how it is known that it has been."""

import asyncio
import dataclasses
import os
import pathlib
import signal
import time
from collections.abc import Callable

from tests.e2e.failover.fleet import Replica


@dataclasses.dataclass(frozen=True)
class Fault:
    """reasons: what the router may call it, if streams have to go elsewhere. inject returns the check that is
    made when all streams have ended."""

    name: str
    inject: Callable[[Replica], Callable[[], bool]]
    reasons: tuple[str, ...]
    inter_token_seconds: float


def state_of(pid: int) -> str:
    """As the kernel names it: T is stopped, Z dead; "" where there is no such process."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]


async def is_seen(check: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether a fault's check holds; the kernel may take a moment to bury a process."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


def _kill(replica: Replica) -> Callable[[], bool]:
    engine = replica.process.engine_pid()
    replica.signal(signal.SIGKILL)
    return lambda: replica.process.process.wait() == -signal.SIGKILL and not os.path.exists(f"/proc/{engine}")


def _kill_engine(replica: Replica) -> Callable[[], bool]:
    engine = replica.process.engine_pid()
    os.kill(engine, signal.SIGKILL)
    return lambda: replica.process.engine_pid() != engine and replica.process.process.poll() is None


def _stop(replica: Replica) -> Callable[[], bool]:
    replica.signal(signal.SIGSTOP)
    return lambda: state_of(replica.process.process.pid) == "T"


def _cut(replica: Replica) -> Callable[[], bool]:
    before = replica.proxy.num_lost
    replica.proxy.is_cut = True
    return lambda: replica.proxy.num_lost > before


def _drain(replica: Replica) -> Callable[[], bool]:
    replica.signal(signal.SIGTERM)
    return lambda: replica.process.process.poll() == 0


def faults(silence: float) -> tuple[Fault, ...]:
    """silence: seconds of a stream's pause after which the router takes its replica for lost."""
    return (
        Fault("kill -9 of a replica", _kill, ("cut", "connect"), 60.0),
        Fault("kill -9 of its engine", _kill_engine, (), 60.0),
        Fault("SIGSTOP of a replica", _stop, ("timeout",), silence),
        Fault("network cut", _cut, ("timeout",), silence),
        Fault("drain", _drain, ("draining", "cut"), 60.0),
    )
