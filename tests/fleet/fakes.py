"""What tests of fleets share: the folder that tells fake members what to do, and waiting for a line."""

import asyncio
import pathlib
import sys
from collections.abc import Callable

FAKE_COMMAND = (sys.executable, "-P", "-S", str(pathlib.Path(__file__).with_name("fake_member.py")))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)
