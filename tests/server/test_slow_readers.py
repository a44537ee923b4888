"""Clients that never read, on the simulated engine: each holds a bounded buffer, and nobody else notices."""

import asyncio
import collections
import contextlib
import json
import socket
from collections.abc import AsyncIterator

import pytest
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from octavo.http.connection import ConnectionLimits
from tests.fakes import fake_replica
from tests.over_socket import Served, over_socket
from tests.server.arena import NUM_WITNESS_TOKENS, expected_text, text_of
from tests.server.raw_client import exchange, request
from tests.server.serving import sim_engine

pytestmark = pytest.mark.asyncio

CHAT = "/v1/chat/completions"
NUM_SILENT = 100
MAX_EVENTS_BYTES = 1 << 16  # of what one write may add to a buffer: MAX_TAKEN tokens, if the server was late
LONG, SHORT = 150, 30  # tokens of an answer: of more than a connection's buffer and a write, and of less
ASKED = {"model": "tiny", "ignore_eos": True, "stream": True, "logprobs": True, "top_logprobs": 20}
ASKED |= {"messages": [{"role": "user", "content": "hi"}]}


@contextlib.asynccontextmanager
async def silent_clients(served: Served) -> AsyncIterator[None]:
    """They ask, for long answers and short ones, and read nothing."""
    loop = asyncio.get_running_loop()
    sockets = []
    for number in range(NUM_SILENT):
        body = json.dumps({**ASKED, "max_tokens": LONG if number % 2 else SHORT}).encode()
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", served.port))
        await loop.sock_sendall(client, request(CHAT, body, close=number % 4 < 2))
        sockets.append(client)
    try:
        yield
    finally:
        for client in sockets:
            client.close()


async def witness(served: Served, number: int) -> None:
    prompt = f"{number}: "
    body = {"model": "tiny", "prompt": prompt, "seed": number, "max_tokens": NUM_WITNESS_TOKENS}
    body |= {"ignore_eos": True, "stream": True}
    (answer,) = await exchange(served.port, request("/v1/completions", json.dumps(body).encode()))
    assert answer.status == 200
    assert text_of(answer) == expected_text(number, len(prompt))


async def test_who_never_reads_holds_a_bounded_buffer_and_harms_nobody() -> None:
    async with sim_engine(max_num_seqs=256, max_num_queued_requests=256) as engine:
        replica = fake_replica(engine)
        limits = ConnectionLimits(stall_seconds=2.0)
        async with over_socket(replica.app, limits, send_buffer_bytes=4096) as served, silent_clients(served):
            largest, number = 0, 0
            while served.state.connections or not number:
                await asyncio.gather(*(witness(served, number + i) for i in range(4)))
                number += 4
                sizes = [one.transport.get_write_buffer_size() for one in served.state.connections]
                largest = max([largest, *sizes])
            while engine.num_live:  # the last ones are being told that their clients are gone
                await asyncio.sleep(0.01)
    assert HIGH_WATER_LIMIT < largest < HIGH_WATER_LIMIT + MAX_EVENTS_BYTES
    entries = [json.loads(line) for line in replica.log.getvalue().splitlines()]
    statuses = collections.Counter(entry["status"] for entry in entries if entry["path"] == CHAT)
    assert statuses == {200: NUM_SILENT // 2, 499: NUM_SILENT // 2}
