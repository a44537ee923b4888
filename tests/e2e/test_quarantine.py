"""A request that kills the engine fails alone; the tokens of all others are as if it had not been there."""

import asyncio
import pathlib

import pytest

from octavo.config import EngineConfig, Environment
from octavo.core.errors import EngineError
from octavo.core.sampling_params import SamplingParams
from octavo.engine.client import EngineClient
from octavo.engine.streams import RequestStream
from octavo.engine.supervisor import EngineSupervisor
from tests.e2e import deadly_engine
from tests.engine.harness import command_of, read

NUM_INNOCENT = 15
NUM_TOKENS = 30


def submit(client: EngineClient, number: int, *orders: int) -> RequestStream:
    prompt = [504 + number, *range(600, 620 + number), *orders]
    sampling = SamplingParams(temperature=0.8 if number % 2 else 0, max_tokens=NUM_TOKENS, ignore_eos=True)
    return client.submit(prompt, sampling, request_id=f"r{number}-{len(orders)}", seed=number)


@pytest.mark.asyncio
async def test_one_killer_among_fifteen(smollm2_path: pathlib.Path) -> None:
    config = EngineConfig(model=str(smollm2_path), max_model_len=256, kv_cache_memory=128 << 20)
    command = command_of(pathlib.Path(deadly_engine.__file__))
    client = await EngineSupervisor.start(config, Environment.read(), command=command)
    try:
        alone = [await read(submit(client, number)) for number in range(NUM_INNOCENT)]
        streams = [submit(client, number) for number in range(7)]
        killer = submit(client, 99, deadly_engine.KILLER)
        streams += [submit(client, number) for number in range(7, NUM_INNOCENT)]
        assert await asyncio.gather(*map(read, streams)) == alone
        with pytest.raises(EngineError, match="stopped the engine twice"):
            await read(killer)
        assert client.num_restarts == 2
    finally:
        await client.close()
