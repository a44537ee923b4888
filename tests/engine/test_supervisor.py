"""Real engine processes (with a fake core) are killed, stopped and broken; the streams must not notice."""

import asyncio
import dataclasses
import os
import signal

import pytest

from octavo.core.errors import EngineError, OverloadedError, StartError
from octavo.core.request import FinishReason
from octavo.core.sampling_params import SamplingParams
from tests.engine.fake_engine import EXITER, GAPPER, HANGER, KILLER, REFUSED, answer
from tests.engine.harness import PATIENT, children, engine, expected, read, read_on, submit, the_engine

ENDLESS = 10**6  # tokens, of an answer that must not end before a test does
IMPATIENT = dataclasses.replace(
    PATIENT, step_deadline_seconds=0.3, look_interval_seconds=0.05, stack_dump_seconds=0.05
)


@pytest.mark.asyncio
async def test_a_request_streams_to_its_end() -> None:
    async with engine() as client:
        stream = submit(client, 1, 20)
        outputs = [output async for output in stream]
        assert [token for output in outputs for token in output.token_ids] == expected(1, 20)
        assert [output.finish_reason for output in outputs] == [None] * (len(outputs) - 1) + [
            FinishReason.LENGTH
        ]
        assert client.is_ready
        assert client.info.fingerprint == "fake"
        assert client.seconds_since_progress == 0
        assert client.num_restarts == 0
    assert not children()


@pytest.mark.asyncio
async def test_an_aborted_request_leaves_the_engine_and_the_others_alone() -> None:
    async with engine() as client:
        gone, stays = submit(client, 1, ENDLESS), submit(client, 2, 200)
        await read(gone, 3)
        gone.abort()
        gone.abort()
        assert [output async for output in gone] == []
        assert await read(stays) == expected(2, 200)
        assert await read(submit(client, 3, 2)) == expected(3, 2)
        assert client.stats.num_running == 0
        assert client.num_live == 0


@pytest.mark.asyncio
async def test_a_refused_request_fails_alone() -> None:
    async with engine() as client:
        other = submit(client, 2, 50)
        with pytest.raises(EngineError, match="takes no such token"):
            await read(submit(client, 1, 5, REFUSED))
        assert await read(other) == expected(2, 50)
        assert client.num_restarts == 0


@pytest.mark.asyncio
async def test_sixteen_streams_survive_two_outside_kills() -> None:
    async with engine() as client:
        streams = [submit(client, number, 150) for number in range(16)]
        readers = [asyncio.create_task(read(stream)) for stream in streams]
        for num_tokens in (20, 70):
            while streams[0].num_output_tokens < num_tokens:
                await asyncio.sleep(0.001)
            os.kill(the_engine(), signal.SIGKILL)
            while client.is_ready:
                await asyncio.sleep(0.001)
        assert await asyncio.gather(*readers) == [expected(number, 150) for number in range(16)]
        assert client.num_restarts == 2
        assert len(children()) == 1


@pytest.mark.asyncio
async def test_a_lone_request_outlives_two_outside_kills() -> None:
    async with engine() as client:
        stream = submit(client, 1, 200)
        reader = asyncio.create_task(read(stream))
        for num_restarts in range(2):
            num_tokens = stream.num_output_tokens
            while stream.num_output_tokens < num_tokens + 10:
                await asyncio.sleep(0.001)
            os.kill(the_engine(), signal.SIGKILL)
            while client.num_restarts == num_restarts:
                await asyncio.sleep(0.001)
        assert await reader == expected(1, 200)


@pytest.mark.asyncio
async def test_the_first_admission_is_what_is_reported_after_a_resume() -> None:
    async with engine() as client:
        stream = submit(client, 1, 60)
        await read(stream, 5)
        os.kill(the_engine(), signal.SIGKILL)
        assert [output async for output in stream]
        assert stream.admission is not None
        assert stream.admission.num_cached_tokens == 0  # the fake reports its first index as cached tokens
        assert client.num_restarts == 1


@pytest.mark.parametrize("order", [KILLER, EXITER])
@pytest.mark.asyncio
async def test_one_killer_among_fifteen_fails_alone_and_after_two_deaths(order: int) -> None:
    async with engine() as client:
        streams = [submit(client, number, 40) for number in range(15)]
        killer = submit(client, 99, 40, order)
        answers = await asyncio.gather(*(read(stream) for stream in streams))
        assert answers == [expected(number, 40) for number in range(15)]
        with pytest.raises(EngineError, match="stopped the engine twice"):
            await read(killer)
        while client.num_restarts < 2:
            await asyncio.sleep(0.001)
        assert await read(submit(client, 50, 5)) == expected(50, 5)
        assert client.num_restarts == 2


@pytest.mark.asyncio
async def test_a_killer_that_joins_running_streams() -> None:
    async with engine() as client:
        streams = [submit(client, number, 300) for number in range(4)]
        begun = await read(streams[0], 5)
        with pytest.raises(EngineError, match="stopped the engine twice"):
            await read(submit(client, 99, 40, KILLER))
        for number, stream in enumerate(streams):
            assert await read_on(stream) == expected(number, 300)[len(begun) if number == 0 else 0 :]


@pytest.mark.asyncio
async def test_a_stopped_engine_is_killed_and_replaced_and_nobody_is_blamed() -> None:
    async with engine(limits=IMPATIENT) as client:
        stream = submit(client, 1, 500)
        reader = asyncio.create_task(read(stream))
        for num_restarts in range(2):
            num_tokens = stream.num_output_tokens
            while stream.num_output_tokens == num_tokens:
                await asyncio.sleep(0.001)
            os.kill(the_engine(), signal.SIGSTOP)
            while client.num_restarts == num_restarts:
                await asyncio.sleep(0.01)
        assert await reader == expected(1, 500)


@pytest.mark.asyncio
async def test_a_request_that_hangs_the_engine_is_set_aside_and_leaves_a_trace(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with engine(limits=IMPATIENT) as client:
        other = submit(client, 1, 40)
        with pytest.raises(EngineError, match="stopped the engine twice"):
            await read(submit(client, 99, 40, HANGER))
        assert await read(other) == expected(1, 40)
    assert " in _obey\n" in capfd.readouterr().err  # the engine's stack, at the place where it hung


@pytest.mark.asyncio
async def test_an_idle_engine_is_never_taken_for_hung() -> None:
    limits = dataclasses.replace(IMPATIENT, step_deadline_seconds=0.02, look_interval_seconds=0.01)
    async with engine(limits=limits) as client:
        await asyncio.sleep(0.1)
        assert client.num_restarts == 0


@pytest.mark.asyncio
async def test_a_gap_in_the_tokens_is_a_fault_of_its_request() -> None:
    async with engine() as client:
        other = submit(client, 1, 100)
        with pytest.raises(EngineError, match="stopped the engine twice"):
            await read(submit(client, 99, 40, GAPPER))
        assert await read(other) == expected(1, 100)


@pytest.mark.asyncio
async def test_a_start_error_is_the_engines_own_sentence() -> None:
    with pytest.raises(StartError, match=r"^The model file is missing\.$"):
        async with engine("refuse"):
            pass
    assert not children()


@pytest.mark.parametrize(
    ("order", "cause"), [("break", "RuntimeError: out of luck"), ("die", "exited with code 3")]
)
@pytest.mark.asyncio
async def test_an_engine_that_never_starts_is_given_up_with_the_cause(order: str, cause: str) -> None:
    limits = dataclasses.replace(PATIENT, max_failures=3)
    with pytest.raises(StartError, match=f"{cause}.*failed 3 times in a row"):
        async with engine(order, limits):
            pass
    assert not children()


@pytest.mark.asyncio
async def test_a_crash_loop_after_a_start_fails_every_request_with_the_cause() -> None:
    async with engine("die-later", dataclasses.replace(PATIENT, max_failures=2)) as client:
        stream = submit(client, 1, ENDLESS)
        await read(stream, 5)
        os.kill(the_engine(), signal.SIGKILL)
        assert "failed 2 times in a row" in await client.fatal
        with pytest.raises(EngineError, match="failed 2 times in a row"):
            async for _ in stream:
                pass
        with pytest.raises(EngineError, match="failed 2 times in a row"):
            submit(client, 2, 1)
        assert not client.is_ready


@pytest.mark.asyncio
async def test_a_full_queue_refuses_and_a_probe_passes() -> None:
    async with engine(max_num_seqs=2, max_num_queued_requests=1) as client:
        streams = [submit(client, number, ENDLESS) for number in range(3)]
        with pytest.raises(OverloadedError, match="1 requests wait") as refusal:
            submit(client, 3, 1)
        assert 1 <= refusal.value.retry_after_seconds <= 60
        probe = client.submit([1], SamplingParams(max_tokens=1), request_id="p", seed=0, is_probe=True)
        assert await read(probe) == answer([1], 0, 1)
        streams[0].abort()
        assert await read(submit(client, 3, 1)) == expected(3, 1)


@pytest.mark.asyncio
async def test_draining_waits_for_the_others_and_refuses_the_rest() -> None:
    async with engine() as client:
        stream = submit(client, 1, 100)
        reader = asyncio.create_task(read(stream))
        drain = asyncio.create_task(client.drain(60))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="shutting down"):
            submit(client, 2, 1)
        assert await drain == 0
        assert await reader == expected(1, 100)


@pytest.mark.asyncio
async def test_draining_gives_up_in_time_and_closing_fails_the_rest() -> None:
    async with engine() as client:
        stream = submit(client, 1, 100_000)
        assert await client.drain(0.02) == 1
        await client.close()
        with pytest.raises(EngineError, match="shutting down"):
            async for _ in stream:
                pass
    assert not children()
