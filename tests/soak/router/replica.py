"""An octavo server around an engine that knows one answer: what a router's soak kills again and again."""

import asyncio
import sys

import msgspec
import uvloop

from octavo.http.http_server import HttpServer
from octavo.http.listener import listen
from tests.fakes import READY, PacedEngine, fake_replica

ANSWER = "Zwölf Bytes."
SECRET = "soak"
MAX_MODEL_LEN = 2048


async def serve(port: int) -> None:
    engine = PacedEngine(ANSWER.encode(), pace=0.002)
    engine.info = msgspec.structs.replace(READY, max_model_len=MAX_MODEL_LEN)
    replica = fake_replica(engine, secret=SECRET)
    await replica.readiness.record()
    await HttpServer.of(replica.app).serve(sockets=[listen("127.0.0.1", port)])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
