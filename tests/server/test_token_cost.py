"""A budget for what Python does for a token of a stream, from the engine's frame to the connection: in calls,
which no load of the machine changes."""

import asyncio
import json
import socket
from typing import Any

import pytest

from octavo.core.messages import EngineStats, RequestOutput, StepFrame, Submit
from octavo.engine.client import EngineClient
from tests.counted_calls import CountedCalls
from tests.fakes import READY, fake_replica
from tests.over_socket import over_socket
from tests.server.raw_client import request

pytestmark = pytest.mark.asyncio

CHAT = "/v1/chat/completions"
NUM_STREAMS = 16
NUM_STEPS = 8
CALLS_OF_A_TOKEN = 39  # of Python and of C functions, the event loop's included


class Engine:
    """An EngineClient whose engine says what the test wants."""

    def __init__(self) -> None:
        self.submitted: list[Submit] = []
        self.client = EngineClient(max_num_seqs=NUM_STREAMS, max_num_queued_requests=NUM_STREAMS)
        self.client.engine_started(READY, self._receive)
        self._num_steps = 0

    def _receive(self, message: Any) -> None:
        if isinstance(message, Submit):
            self.submitted.append(message)

    def step(self) -> None:
        """A token for everybody."""
        outputs = [RequestOutput(one.request_id, self._num_steps, [97]) for one in self.submitted]
        self._num_steps += 1
        self.client.receive(StepFrame(READY.epoch, self._num_steps, outputs, EngineStats()))


async def ask(port: int) -> socket.socket:
    """A client that does not read: its part is none of the cost."""
    client = socket.socket()
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 50,
        "stream": True,
    }
    await asyncio.get_running_loop().sock_sendall(client, request(CHAT, json.dumps(body).encode()))
    return client


async def test_the_calls_of_a_token() -> None:
    engine = Engine()
    async with over_socket(fake_replica(engine.client).app) as served:
        clients = [await ask(served.port) for _ in range(NUM_STREAMS)]
        while len(engine.submitted) < NUM_STREAMS:
            await asyncio.sleep(0)
        for _ in range(2):  # what comes first takes another way
            engine.step()
            await asyncio.sleep(0.01)
        with CountedCalls() as calls:
            for _ in range(NUM_STEPS):
                engine.step()
                await asyncio.sleep(0)  # another turn of the event loop
        texts = [client.recv(1 << 20).count(b'"content":"a"') for client in clients]
        for client in clients:
            client.close()
    assert texts == [NUM_STEPS + 2] * NUM_STREAMS
    assert calls.count / NUM_STEPS / NUM_STREAMS <= CALLS_OF_A_TOKEN
