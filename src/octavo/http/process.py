"""What any process of octavo that serves has: signals that stop it, its log, its limits.

Knows neither what is served nor what is to be finished before the end.
"""

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from octavo.core.counted import counted
from octavo.core.errors import StartError

COLLECT_AFTER = 20_000  # containers more than before: what a token makes ends without the collector
COLLECT_OLDER_AFTER = (5, 2)  # collections of the next younger generation
LOG_LEVELS = ("debug", "info", "warning", "error")


def set_up(log_level: str) -> None:
    """What a process that serves does first."""
    set_up_logging(log_level)
    allow_connections()


def set_up_logging(level: str) -> None:
    if level not in LOG_LEVELS:
        raise StartError(f"OCTAVO_LOG is {level!r}; allowed: {', '.join(LOG_LEVELS)}.")
    logging.basicConfig(level=level.upper(), format="%(levelname)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(max(logging.getLogger().level, logging.WARNING))


def allow_connections() -> None:
    """As many as this process may have open files at most. It begins with fewer (1,024 are usual), and where
    these are used up, connections are reset without a word."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def spare_the_collector() -> None:
    """What is loaded now stays: no garbage collection need look at it again, nor be made as often as Python
    makes them, whose programs have less under way at a time. Older generations have little in them then, and
    are collected sooner: each collection moves the requests under way there, which would wait for thousands
    of others."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, *COLLECT_OLDER_AFTER)


def say(text: str) -> None:
    """A line for whoever watches stderr. Nobody may, or the disk is full: that ends nothing."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def drain_notice(seconds: float, num_requests: int) -> str:
    """What is said when no more requests are taken, and some are running."""
    if not num_requests:
        return "shutting down"
    limit = f"up to {seconds:g} s for {counted(num_requests, 'request')}"
    return f"shutting down: {limit}; Ctrl-C again stops at once"


def end_notice(num_requests: int) -> str:
    """What is said at the end, with so many still running."""
    return f"stopped: {counted(num_requests, 'request')} cut off" if num_requests else "stopped"


async def drain(
    draining: Coroutine[Any, Any, Any], signals: "StopSignals", seconds: float, num_running: Callable[[], int]
) -> None:
    """Until draining, which takes these seconds at most, has ended, or a second signal; and say so."""
    say(drain_notice(seconds, num_running()))
    task = asyncio.create_task(draining)
    await wait_for_any(task, signals.second.wait())
    task.cancel()
    say(end_notice(num_running()))


class StopSignals:
    """SIGTERM or SIGINT asks the process to drain; another one to end at once."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._receive)

    def _receive(self) -> None:
        (self.second if self.first.is_set() else self.first).set()


async def wait_for_any(future: asyncio.Future[Any], event: Coroutine[Any, Any, Any]) -> None:
    """Until one of them is done. The future goes on, the event's wait does not."""
    waiting = asyncio.create_task(event)
    await asyncio.wait((future, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
