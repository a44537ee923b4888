"""Three octavo replicas, each behind a proxy, whose engines have appointments with disaster."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from octavo.core.errors import EngineError
from octavo.engine.streams import RequestStream
from octavo.router.delivery import DeliveryLimits
from tests.e2e.failover.proxy import CutProxy
from tests.fakes import PacedEngine
from tests.router.routed import Routed, routed
from tests.server.serving import serving

SECRET = "shared"
ANSWER = b"Eins, zwei, drei, vier; und noch mehr"
SILENCE = 0.3  # seconds


class DoomedEngine(PacedEngine):
    """Something befalls its replica at the n-th token of each of the next requests."""

    def __init__(self) -> None:
        super().__init__(ANSWER, pace=0.002)
        self.proxy = CutProxy(0)
        self.dooms: list[tuple[int, str]] = []  # shared: (n, what), in order
        self.num_befallen = 0

    def submit(self, prompt_token_ids: list[int], sampling: Any, **options: Any) -> RequestStream:
        stream = super().submit(prompt_token_ids, sampling, **options)
        if not stream.is_probe and self.dooms:
            after, what = self.dooms.pop(0)
            task = asyncio.create_task(self._befall(stream, after, what))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return stream

    async def _befall(self, stream: RequestStream, after: int, what: str) -> None:
        first = stream.num_output_tokens
        while stream.num_output_tokens - first < after:
            await asyncio.sleep(0.001)
        self.num_befallen += 1
        if what == "killed":
            self.proxy.reset()
        elif what == "cut":
            self.proxy.is_cut = True
            asyncio.get_running_loop().call_later(2 * SILENCE, self.proxy.reset)
        else:
            stream.fail(EngineError("The engine died of this request."))


@contextlib.asynccontextmanager
async def fleet(
    *dooms: tuple[int, str], silence: float = SILENCE, **options: Any
) -> AsyncIterator[tuple[list[DoomedEngine], Routed]]:
    """Once dooms are over they are left in peace. silence: seconds until a replica counts as hung."""
    engines = [DoomedEngine() for _ in range(3)]
    shared = list(dooms)
    async with contextlib.AsyncExitStack() as stack:
        for engine in engines:
            _, url = await stack.enter_async_context(serving(engine, secret=SECRET))
            engine.proxy.target_port = int(url.rpartition(":")[2])
            await engine.proxy.start()
            stack.push_async_callback(engine.proxy.stop)
        limits = DeliveryLimits(first_token=silence, inter_token=silence, total=20.0)
        urls = [engine.proxy.url for engine in engines]
        router = await stack.enter_async_context(routed(urls, secret=SECRET, limits=limits, **options))
        for engine in engines:
            engine.dooms = shared
        yield engines, router


async def told(router: Routed) -> list[Any]:
    """What a client is told, without the names of this one request."""
    response = await router.ask(stream=True, stream_options={"include_usage": True})
    assert '"error":{' not in response.text, response.text[-600:]
    events = [json.loads(line[6:]) for line in response.text.split("\n\n") if line.startswith("data: {")]
    assert len({(event.pop("id"), event.pop("created")) for event in events}) == 1, response.text
    return events
