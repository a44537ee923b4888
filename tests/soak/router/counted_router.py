"""`octavo route` that counts what is alive in it: at SIGUSR2 it writes the numbers to a file."""

import asyncio
import gc
import json
import os
import pathlib
import signal
import sys

from octavo.cli.main import main
from octavo.router.delivery import Delivery
from octavo.router.endpoints import Endpoint, Reservation
from octavo.router.upstream import Connection
from octavo.router.waiting_room import Waiter

KINDS = (Delivery, Endpoint, Reservation, Connection, Waiter)


def count_to(path: pathlib.Path) -> None:
    """Tasks that are not done, and objects that live as long as a request or an endpoint."""
    gc.collect()
    counts = {"task": 0, **{kind.__name__.lower(): 0 for kind in KINDS}}
    for item in gc.get_objects():
        counts["task"] += isinstance(item, asyncio.Task) and not item.done()
        for kind in KINDS:
            counts[kind.__name__.lower()] += isinstance(item, kind)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(counts))
    os.replace(partial, path)


if __name__ == "__main__":
    place = pathlib.Path(sys.argv.pop(1))
    signal.signal(signal.SIGUSR2, lambda *_: count_to(place))
    sys.exit(main())
