"""Other engines' own gauges, in their own spellings."""

import asyncio

import pytest

from octavo.core.relay import ReplicaCard
from octavo.metrics.engine_metrics import EngineMetrics
from octavo.router.endpoints import Endpoint
from octavo.router.gauge_watch import GaugeWatch, Memory, read_memory
from tests.router.fake_server import FakeServer, fake_servers
from tests.router.routed import routed

VLLM = b"""# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="a{b} 7"} 3.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0",model_name="a{b} 7"} 0.97
"""
LLAMA = b"llamacpp:requests_processing 4\nllamacpp:requests_deferred %d\n"


@pytest.mark.parametrize(
    ("exposition", "memory", "is_short"),
    [
        (VLLM, Memory("vLLM", 0.97, 3.0), True),
        (VLLM.replace(b"0.97", b"0.94"), Memory("vLLM", 0.94, 3.0), False),
        (VLLM.replace(b"3.0", b"0.0"), Memory("vLLM", 0.97, 0.0), False),
        (VLLM.replace(b"kv_cache", b"gpu_cache"), Memory("vLLM", 0.97, 3.0), True),
        (VLLM + VLLM.replace(b"0.97", b"0.5"), Memory("vLLM", 0.5, 6.0), False),
        (b"sglang:token_usage 1.0\nsglang:num_queue_reqs 1\n", Memory("SGLang", 1.0, 1.0), True),
        (LLAMA % 2, Memory("llama.cpp", None, 2.0), True),
        (LLAMA % 0, Memory("llama.cpp", None, 0.0), False),
        (LLAMA % 2 + b"llamacpp:kv_cache_usage_ratio 0.5\n", Memory("llama.cpp", 0.5, 2.0), False),
    ],
)
def test_what_engines_say(exposition: bytes, memory: Memory, is_short: bool) -> None:
    assert read_memory(exposition) == memory
    assert memory.is_short == is_short


@pytest.mark.parametrize(
    "exposition",
    [b"", b"http_requests_total 7\n", b"vllm:num_requests_waiting 7\n", b"llamacpp:requests_deferred soon\n"],
)
def test_what_is_no_engines(exposition: bytes) -> None:
    assert read_memory(exposition) is None


def test_our_own_metrics_are_read_where_there_is_no_secret() -> None:
    memory = read_memory(EngineMetrics(model_name="m", max_model_len=64, cache_config={}).render())
    assert memory is not None and memory.usage == 0 and not memory.is_short


async def looked_at(server: FakeServer, endpoint: Endpoint) -> tuple[bool, str]:
    await GaugeWatch().look(endpoint)
    return endpoint.is_short_of_memory, endpoint.memory_source


def test_who_cannot_be_read_is_not_taken_to_be_full_and_the_reason_is_shown() -> None:
    async def run() -> None:
        async with fake_servers(1) as (server,):
            endpoint = Endpoint(server.url, name="r0")
            assert await looked_at(server, endpoint) == (False, "unknown: its /metrics answers 404")
            server.metrics = LLAMA % 1
            assert await looked_at(server, endpoint) == (True, "llama.cpp's gauges")
            assert endpoint.description["memory_source"] == "llama.cpp's gauges"
            server.metrics = b"nothing 1\n"
            is_short, source = await looked_at(server, endpoint)
            assert not is_short
            assert source == "unknown: its /metrics has no gauges of vLLM, SGLang or llama.cpp"
            server.metrics = LLAMA % 1
            await looked_at(server, endpoint)
            await server.stop()
            is_short, source = await looked_at(server, endpoint)
            assert not is_short and source.startswith("unknown: ")

    asyncio.run(run())


def test_a_replica_that_tells_by_events_is_not_overruled() -> None:
    async def run() -> None:
        async with fake_servers(1) as (server,):
            server.metrics = LLAMA % 0
            endpoint = Endpoint(server.url, name="r0")
            endpoint.card, endpoint.is_short_of_memory = ReplicaCard("f", 1), True
            await GaugeWatch().look(endpoint)
            assert endpoint.is_short_of_memory

    asyncio.run(run())


def test_a_full_one_gets_nothing_while_another_one_is_not() -> None:
    async def run() -> None:
        async with fake_servers(2) as servers, routed([server.url for server in servers]) as router:
            servers[0].metrics, servers[1].metrics = VLLM, VLLM.replace(b"0.97", b"0.2")
            watch = GaugeWatch(look_seconds=0.01)
            watching = [asyncio.create_task(watch.follow(endpoint)) for endpoint in router.endpoints]
            async with asyncio.timeout(10):
                while not router.endpoints[0].is_short_of_memory:
                    await asyncio.sleep(0.005)
            assert [(await router.ask()).status_code for _ in range(4)] == [200] * 4
            assert (len(servers[0].received), len(servers[1].received)) == (0, 4)
            servers[0].metrics = VLLM.replace(b"3.0", b"0.0")
            async with asyncio.timeout(10):
                while router.endpoints[0].is_short_of_memory:
                    await asyncio.sleep(0.005)
            for task in watching:
                task.cancel()

    asyncio.run(run())
