"""An octavo server and its engine as processes, on the `sim` back end: a step takes the time that a small
model on a few cores would take, and hardly any of the processor's. A token is a byte.

Started as the soak's replicas are: with its port.
"""

import asyncio
import pathlib
import sys

from octavo.engine.process import main
from octavo.http.http_server import HttpServer
from octavo.http.listener import listen
from tests.engine import harness
from tests.engine.sim_engine import sim_loader
from tests.fakes import VOCAB_SIZE, fake_replica
from tests.soak.router.replica import SECRET

MAX_MODEL_LEN = 4096
NUM_BLOCKS = 1500  # 24,000 tokens
MAX_NUM_SEQS = 32
SECONDS_PER_STEP = 0.01
SECONDS_PER_TOKEN = 4e-4


async def serve(port: int) -> None:
    async with harness.engine(program=pathlib.Path(__file__), max_num_seqs=MAX_NUM_SEQS) as engine:
        replica = fake_replica(engine, secret=SECRET)
        await replica.readiness.record()
        await HttpServer.of(replica.app).serve(sockets=[listen("127.0.0.1", port)])


if __name__ == "__main__":
    if len(sys.argv) == 2:
        asyncio.run(serve(int(sys.argv[1])))
    else:  # as the server starts its engine: what the tests' engines are told, and a socket
        load = sim_loader(
            vocab_size=VOCAB_SIZE,
            max_model_len=MAX_MODEL_LEN,
            num_blocks=NUM_BLOCKS,
            step_seconds=lambda num_tokens, num_context_tokens, num_requests: (
                SECONDS_PER_STEP + SECONDS_PER_TOKEN * num_tokens
            ),
        )
        main(load, sys.argv[2:])
