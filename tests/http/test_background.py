"""What nobody waits for is heard of when it fails."""

import asyncio

import pytest

from octavo.http.background import in_background

pytestmark = pytest.mark.asyncio


async def fail() -> None:
    raise KeyError("x")


async def test_a_defect_is_said_at_once(caplog: pytest.LogCaptureFixture) -> None:
    task = in_background(fail(), "watching endpoint r0")
    await asyncio.wait((task,))
    await asyncio.sleep(0)
    (record,) = caplog.records
    assert record.getMessage().startswith("watching endpoint r0 has ended by a defect")
    assert record.exc_info is not None and record.exc_info[0] is KeyError


async def test_an_end_that_is_wanted_is_not(caplog: pytest.LogCaptureFixture) -> None:
    waiting = in_background(asyncio.Event().wait(), "waiting")  # type: ignore[arg-type]
    ending = in_background(asyncio.sleep(0), "ending")
    await ending
    waiting.cancel()
    await asyncio.wait((waiting,))
    await asyncio.sleep(0)
    assert not caplog.records
