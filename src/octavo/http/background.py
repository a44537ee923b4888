"""Work that goes on beside the requests, for as long as its process does, and that nobody waits for."""

import asyncio
import logging
from collections.abc import Coroutine


def in_background(work: Coroutine[None, None, None], what: str) -> "asyncio.Task[None]":
    """A task. That a defect of ours has ended it is said then; nobody else would ever ask. what: it does."""
    task = asyncio.create_task(work, name=what)
    task.add_done_callback(_tell)
    return task


def _tell(task: "asyncio.Task[None]") -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        logging.getLogger(__name__).error(
            "%s has ended by a defect; what it did is done no more.", task.get_name(), exc_info=error
        )
