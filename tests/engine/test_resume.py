"""Client, supervisor, process, core, scheduler and KV cache on the `sim` back end, through deaths."""

import asyncio
import os
import pathlib
import signal

import pytest

from octavo.backends.sim.backend import sim_token
from octavo.core.errors import EngineError
from octavo.core.grammar_spec import GrammarKind, GrammarSpec
from octavo.core.sampling_params import SamplingParams
from octavo.engine.client import EngineClient
from octavo.engine.streams import RequestStream
from tests.engine import sim_engine
from tests.engine.harness import engine, read, the_engine

SIM_ENGINE = pathlib.Path(sim_engine.__file__)
NUM_TOKENS = 120


def submit(client: EngineClient, number: int, *orders: int) -> RequestStream:
    """Prompts of different lengths that begin alike."""
    return client.submit(
        [7] * 40 + [number] * (1 + 3 * number) + list(orders),
        SamplingParams(max_tokens=NUM_TOKENS),
        request_id=f"r{number}",
        seed=number,
    )


def expected(number: int) -> list[int]:
    first = 40 + 1 + 3 * number
    return [
        sim_token(number, 0, position, sim_engine.VOCAB_SIZE) for position in range(first, first + NUM_TOKENS)
    ]


@pytest.mark.asyncio
async def test_two_outside_kills_among_sixteen_streams_change_no_token() -> None:
    async with engine(program=SIM_ENGINE) as client:
        streams = [submit(client, number) for number in range(16)]
        readers = [asyncio.create_task(read(stream)) for stream in streams]
        for num_tokens in (20, 60):
            while streams[0].num_output_tokens < num_tokens:
                await asyncio.sleep(0.001)
            os.kill(the_engine(), signal.SIGKILL)
            while client.is_ready:
                await asyncio.sleep(0.001)
        assert await asyncio.gather(*readers) == [expected(number) for number in range(16)]
        assert client.num_restarts == 2
        assert client.stats.num_generation_tokens >= 16 * NUM_TOKENS


@pytest.mark.asyncio
async def test_one_killer_among_fifteen_is_the_only_one_to_fail() -> None:
    async with engine(program=SIM_ENGINE) as client:
        streams = [submit(client, number) for number in range(15)]
        killer = submit(client, 15, sim_engine.KILLER)
        assert await asyncio.gather(*map(read, streams)) == [expected(number) for number in range(15)]
        with pytest.raises(EngineError, match="stopped the engine twice"):
            await read(killer)
        assert client.num_restarts == 2


@pytest.mark.asyncio
async def test_a_grammar_that_kills_its_compiler_is_the_only_one_to_fail() -> None:
    async with engine(program=SIM_ENGINE) as client:
        streams = [submit(client, number) for number in range(3)]
        while streams[0].num_output_tokens < 10:
            await asyncio.sleep(0.001)
        grammar = GrammarSpec(GrammarKind.REGEX, "a")
        killer = client.submit([1, 2], SamplingParams(), request_id="killer", seed=0, grammar=grammar)
        assert await asyncio.gather(*map(read, streams)) == [expected(number) for number in range(3)]
        with pytest.raises(EngineError, match="stopped the engine twice"):
            await read(killer)
        assert client.num_restarts >= 2
