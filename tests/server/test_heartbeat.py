"""Beats at its interval, from start to stop, and not while the one before is still under way."""

import asyncio

import pytest

from octavo.server.heartbeat import Heartbeat

pytestmark = pytest.mark.asyncio


async def test_it_beats_until_it_is_stopped() -> None:
    count, enough = 0, asyncio.Event()

    async def beat() -> None:
        nonlocal count
        count += 1
        if count == 3:
            enough.set()

    heartbeat = Heartbeat(beat, 0.001)
    heartbeat.start()
    await enough.wait()
    heartbeat.stop()
    heartbeat.stop()
    await asyncio.sleep(0.01)
    assert count == 3


async def test_a_beat_that_waits_is_taken_back() -> None:
    is_beating, was_cancelled = asyncio.Event(), asyncio.Event()

    async def beat() -> None:
        is_beating.set()
        try:
            await asyncio.Event().wait()
        finally:
            was_cancelled.set()

    heartbeat = Heartbeat(beat, 0.001)
    heartbeat.start()
    await is_beating.wait()
    heartbeat.stop()
    await was_cancelled.wait()


async def test_never_is_an_interval_too() -> None:
    async def beat() -> None:
        raise AssertionError

    heartbeat = Heartbeat(beat, 0.0)
    heartbeat.start()
    await asyncio.sleep(0.005)
    heartbeat.stop()
