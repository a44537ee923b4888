"""`octavo` in a process that counts what is alive in it: at SIGUSR2 it writes the numbers to a file.

A soak has one module for each kind of process, which says what to count and calls run().
"""

import asyncio
import gc
import json
import os
import pathlib
import signal
import sys
from collections.abc import Mapping

from octavo.cli.main import main

ROOT = pathlib.Path(__file__).resolve().parents[2]


def command(module: str, *arguments: str) -> list[str]:
    """Runs a module of the tests, wherever one is."""
    code = f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r})"
    code += f"; runpy.run_module({module!r}, {{}}, '__main__')"
    return [sys.executable, "-c", code, *arguments]


def run(kinds: Mapping[str, type]) -> None:
    """The process's arguments: the file, and octavo's own. kinds: by the name of their number; "tasks" that
    are not done are always counted."""
    place = pathlib.Path(sys.argv.pop(1))
    signal.signal(signal.SIGUSR2, lambda *_: _count_to(place, kinds))
    sys.exit(main())


def _count_to(path: pathlib.Path, kinds: Mapping[str, type]) -> None:
    gc.collect()
    counts = {"tasks": 0, **dict.fromkeys(kinds, 0)}
    for item in gc.get_objects():
        counts["tasks"] += isinstance(item, asyncio.Task) and not item.done()
        for name, kind in kinds.items():
            counts[name] += isinstance(item, kind)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(counts))
    os.replace(partial, path)
