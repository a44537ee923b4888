"""Who ends a stretch of a task, and with what."""

import asyncio

import pytest

from octavo.http.interruption import Interruption, Lifetimes

pytestmark = pytest.mark.asyncio

REASON = ValueError("a reason")


async def forever() -> None:
    await asyncio.Event().wait()


async def test_an_interruption_is_raised_inside_the_task() -> None:
    with pytest.raises(ValueError, match="a reason"), Interruption() as stretch:
        asyncio.get_running_loop().call_soon(stretch.interrupt, REASON)
        await forever()
    task = asyncio.current_task()
    assert task is not None and not task.cancelling()
    await asyncio.sleep(0)  # the task goes on


async def test_what_comes_too_late_has_no_effect() -> None:
    with Interruption() as stretch:
        await asyncio.sleep(0)
    stretch.interrupt(REASON)
    await asyncio.sleep(0)


async def test_an_error_of_its_own_is_raised_as_it_is() -> None:
    with pytest.raises(KeyError), Interruption() as stretch:
        asyncio.get_running_loop().call_soon(stretch.interrupt, REASON)
        try:
            await forever()
        finally:
            raise KeyError
    await asyncio.sleep(0)


@pytest.mark.parametrize("is_interrupted", (False, True))
async def test_a_task_that_is_cancelled_stays_cancelled(is_interrupted: bool) -> None:
    stretch = Interruption()

    async def run() -> None:
        with stretch:
            await forever()

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    if is_interrupted:
        stretch.interrupt(REASON)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("is_outer_first", (False, True))
async def test_of_two_interruptions_at_once_the_outer_one_is_raised(is_outer_first: bool) -> None:
    inner, outer = Interruption(), Interruption()

    def both() -> None:
        for stretch in (outer, inner) if is_outer_first else (inner, outer):
            stretch.interrupt(ValueError("outer" if stretch is outer else "inner"))

    with pytest.raises(ValueError, match="outer"), outer, inner:
        asyncio.get_running_loop().call_soon(both)
        await forever()
    task = asyncio.current_task()
    assert task is not None and not task.cancelling()


class Stretches:
    def __init__(self, seconds: float) -> None:
        self.lifetimes = Lifetimes(seconds, lambda: TimeoutError("late"))
        self.log: list[str] = []

    async def run(self, name: str, seconds: float) -> None:
        with Interruption() as stretch:
            self.lifetimes.begin(stretch)
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                self.log.append(name)
                raise
            finally:
                self.lifetimes.end(stretch)


async def test_lifetimes_end_one_after_another_and_those_that_end_before_are_left_alone() -> None:
    stretches = Stretches(0.05)
    runs = [asyncio.create_task(stretches.run("a", 0)), asyncio.create_task(stretches.run("b", 100))]
    await asyncio.sleep(0.02)
    runs += [asyncio.create_task(stretches.run("c", 0)), asyncio.create_task(stretches.run("d", 100))]
    ends = await asyncio.gather(*runs, return_exceptions=True)
    assert [type(end) for end in ends] == [type(None), TimeoutError, type(None), TimeoutError]
    assert stretches.log == ["b", "d"]
    with pytest.raises(TimeoutError):  # after a time without any
        await stretches.run("e", 100)


async def test_all_lifetimes_may_be_ended() -> None:
    stretches = Stretches(100)
    runs = [asyncio.create_task(stretches.run(name, 100)) for name in "ab"]
    await asyncio.sleep(0)
    stretches.lifetimes.interrupt_all(REASON)
    assert await asyncio.gather(*runs, return_exceptions=True) == [REASON, REASON]
