"""A client that reads a byte now and then, beside twenty that read as fast as they can: through a router and
a server, on the simulated engine."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator

import pytest
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from octavo.engine.client import EngineClient
from octavo.router import channel, upstream_connection
from octavo.router.upstream_connection import Connection
from octavo.server import channels
from tests.fakes import fake_replica
from tests.over_socket import Served, over_socket
from tests.router.routed import Routed
from tests.server.arena import NUM_WITNESS_TOKENS, expected_text, text_of
from tests.server.raw_client import Answer, exchange, parse, request
from tests.server.serving import sim_engine

pytestmark = pytest.mark.asyncio

SECRET = "shared"
NUM_QUICK = 20
NUM_TOKENS = 400
MAX_WRITE_BYTES = 1 << 16  # of what leaves at once: MAX_TAKEN tokens
CHANNEL_BYTES = 20_000  # also of its own connection
BODY = {"model": "tiny", "prompt": "slow: ", "seed": 3, "max_tokens": NUM_TOKENS, "ignore_eos": True}
BODY |= {"stream": True, "logprobs": 10}  # enough for what is between, however many leave in one event


@contextlib.asynccontextmanager
async def fleet(send_buffer_bytes: int = 4096) -> AsyncIterator[tuple[EngineClient, Served, Served, Routed]]:
    """Replica and router, which has a channel to it; kernels that hold little."""
    async with sim_engine(max_num_seqs=32) as engine:
        replica = fake_replica(engine, secret=SECRET)
        await replica.readiness.record()
        async with over_socket(replica.app, send_buffer_bytes=send_buffer_bytes) as served:
            router = Routed([served.url], secret=SECRET)
            await router.look()
            await router.open_channels()
            try:
                async with over_socket(router.app, send_buffer_bytes=send_buffer_bytes) as routing:
                    yield engine, served, routing, router
            finally:
                await router.close()


class SlowClient:
    """Reads a byte at a time, pause seconds apart; what there is once there is no pause."""

    def __init__(self) -> None:
        self.pause = 0.1
        self.data = b""
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.setblocking(False)

    async def ask(self, port: int) -> list[object]:
        """What its stream says."""
        loop = asyncio.get_running_loop()
        with self._socket:
            await loop.sock_connect(self._socket, ("127.0.0.1", port))
            await loop.sock_sendall(self._socket, request("/v1/completions", json.dumps(BODY).encode()))
            while piece := await loop.sock_recv(self._socket, 1 if self.pause else 1 << 16):
                self.data += piece
                await asyncio.sleep(self.pause)
        (answer,) = parse(self.data)
        return said(answer)


def said(answer: Answer) -> list[object]:
    """Text and log-probabilities: how many tokens an event has is another matter."""
    assert answer.status == 200 and answer.events[-1] == "[DONE]"
    choices = [json.loads(event)["choices"][0] for event in answer.events[:-1]]
    numbers = [number for one in choices if one["logprobs"] for number in one["logprobs"]["token_logprobs"]]
    assert len(numbers) == NUM_TOKENS
    return ["".join(one["text"] for one in choices), numbers]


async def quick_client(port: int, number: int) -> None:
    prompt = f"{number}: "
    body = {"model": "tiny", "prompt": prompt, "seed": number, "max_tokens": NUM_WITNESS_TOKENS}
    body |= {"ignore_eos": True, "stream": True}
    (answer,) = await exchange(port, request("/v1/completions", json.dumps(body).encode()))
    assert answer.status == 200 and text_of(answer) == expected_text(number, len(prompt))


def held(connection: Connection) -> int:
    return sum(map(len, connection._pieces or ())) + sum(map(len, connection._later))


async def test_who_reads_a_byte_now_and_then_slows_nobody_and_gets_every_byte(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (channel, channels):
        monkeypatch.setattr(module, "CHANNEL_BYTES", CHANNEL_BYTES)
    monkeypatch.setattr(upstream_connection, "MAX_BUFFERED_BYTES", CHANNEL_BYTES)
    async with fleet() as (engine, served, routing, router):
        (alone,) = await exchange(routing.port, request("/v1/completions", json.dumps(BODY).encode()))
        slow = SlowClient()
        asking = asyncio.create_task(slow.ask(routing.port))
        carrying = router.endpoints[0].upstream.channel
        assert carrying is not None
        while not (carrying.num_streams and engine.num_live):
            await asyncio.sleep(0.001)
        (part,) = carrying._parts.values()
        assert isinstance(part.receiver, Connection)
        largest_held = largest_buffer = 0
        held_before = 0
        while not held_before or held(part.receiver) != held_before:  # until nothing of it moves any more
            held_before = held(part.receiver)
            quick = [asyncio.create_task(quick_client(routing.port, number)) for number in range(NUM_QUICK)]
            while not all(one.done() for one in quick):
                largest_held = max(largest_held, held(part.receiver))
                connections = [*served.state.connections, *routing.state.connections]
                sizes = [one.transport.get_write_buffer_size() for one in connections]
                largest_buffer = max(largest_buffer, *sizes)
                await asyncio.sleep(0.001)
            await asyncio.gather(*quick)
        assert 0 < len(slow.data) < 1000  # while all others came to their end
        assert largest_held < 2 * CHANNEL_BYTES + MAX_WRITE_BYTES
        assert HIGH_WATER_LIMIT < largest_buffer < HIGH_WATER_LIMIT + MAX_WRITE_BYTES
        slow.pause = 0.0
        assert await asking == said(alone)
