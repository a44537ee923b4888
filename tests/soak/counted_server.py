"""`octavo serve` that counts what is alive in it: at SIGUSR2 it writes the numbers to a file."""

import asyncio
import gc
import json
import os
import pathlib
import signal
import sys

from octavo.cli.main import main
from octavo.engine.streams import RequestStream
from octavo.server.generation import Generation


def count_to(path: pathlib.Path) -> None:
    """Tasks that are not done, and objects that live as long as a request."""
    gc.collect()
    counts = {"tasks": 0, "streams": 0, "generations": 0}
    for item in gc.get_objects():
        counts["tasks"] += isinstance(item, asyncio.Task) and not item.done()
        counts["streams"] += isinstance(item, RequestStream)
        counts["generations"] += isinstance(item, Generation)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(counts))
    os.replace(partial, path)


if __name__ == "__main__":
    place = pathlib.Path(sys.argv.pop(1))
    signal.signal(signal.SIGUSR2, lambda *_: count_to(place))
    sys.exit(main())
