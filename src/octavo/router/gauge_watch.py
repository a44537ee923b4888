"""How full the KV memory of servers is that are not octavo replicas with our secret: from their /metrics.

The gauges that other engines show their operators say enough for one thing: whether a request that is sent
there now would only wait there for memory. They are as old as the last look; load is never read from them.
"""

import asyncio
import contextlib
import dataclasses
import re

from octavo.http.headers import Headers
from octavo.router.endpoints import FULL_USAGE, Endpoint
from octavo.router.upstream_connection import UpstreamError

PATH = "/metrics"
LOOK_SECONDS = 2.0
TIMEOUT_SECONDS = 5.0
MAX_ANSWER_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Gauges:
    """How an engine spells them. usage: 0 to 1, of the KV memory, the newest name first; waiting: requests
    that it has not begun. has_slots: each of its slots has a part of the memory for itself, so requests that
    wait say it all, and new versions show no usage."""

    engine: str
    usage: tuple[str, ...]
    waiting: str
    has_slots: bool = False


KNOWN_GAUGES = (
    Gauges("vLLM", ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"), "vllm:num_requests_waiting"),
    Gauges("SGLang", ("sglang:token_usage",), "sglang:num_queue_reqs"),
    Gauges("llama.cpp", ("llamacpp:kv_cache_usage_ratio",), "llamacpp:requests_deferred", has_slots=True),
)
_SAMPLE = re.compile(
    rb"^(%s)(?:\{.*\})? ([^ \r\n]+)"
    % b"|".join(
        re.escape(name.encode()) for gauges in KNOWN_GAUGES for name in (*gauges.usage, gauges.waiting)
    ),
    re.MULTILINE,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Memory:
    """What an engine says of itself. usage: None: it has slots, and does not say."""

    engine: str
    usage: float | None
    num_waiting: float

    @property
    def is_short(self) -> bool:
        return self.num_waiting > 0 and (self.usage is None or self.usage >= FULL_USAGE)


def read_memory(exposition: bytes) -> Memory | None:
    """exposition: in Prometheus' text format. None: no engine's gauges are in it.

    Of several engines behind one address the emptiest counts: they share their requests out themselves.
    """
    samples: dict[str, list[float]] = {}
    for name, value in _SAMPLE.findall(exposition):
        with contextlib.suppress(ValueError):
            number = float(value)
            samples.setdefault(name.decode(), []).append(number)
    for gauges in KNOWN_GAUGES:
        usage = next((min(samples[name]) for name in gauges.usage if name in samples), None)
        if gauges.waiting in samples and (usage is not None or gauges.has_slots):
            return Memory(gauges.engine, usage, sum(samples[gauges.waiting]))
    return None


class GaugeWatch:
    def __init__(self, *, api_key: str | None = None, look_seconds: float = LOOK_SECONDS) -> None:
        self._headers: Headers = []
        if api_key is not None:
            self._headers.append((b"authorization", f"Bearer {api_key}".encode()))
        self._look_seconds = look_seconds

    async def follow(self, endpoint: Endpoint) -> None:
        """Until cancelled. Who tells more than gauges is left alone; see cache_watch.py."""
        while True:
            if endpoint.is_ready and endpoint.card is None:
                await self.look(endpoint)
            await asyncio.sleep(self._look_seconds)

    async def look(self, endpoint: Endpoint) -> None:
        memory, source = None, f"unknown: its {PATH} has no gauges of {_ENGINES}"
        try:
            status, body = await self._get(endpoint)
            if status == 200:
                memory = read_memory(body)
            else:
                source = f"unknown: its {PATH} answers {status}"
        except UpstreamError as error:
            source = f"unknown: {error}"
        except TimeoutError:
            source = f"unknown: its {PATH} did not answer in {TIMEOUT_SECONDS:g} s"
        if endpoint.card is None:  # it may have been found to be a replica meanwhile
            endpoint.is_short_of_memory = memory is not None and memory.is_short
            endpoint.memory_source = source if memory is None else f"{memory.engine}'s gauges"

    async def _get(self, endpoint: Endpoint) -> tuple[int, bytes]:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            answer = await endpoint.upstream.request("GET", PATH, self._headers, b"", seconds=TIMEOUT_SECONDS)
            try:
                return answer.status, await answer.read_all(TIMEOUT_SECONDS, MAX_ANSWER_BYTES)
            finally:
                answer.close()


_ENGINES = ", ".join(gauges.engine for gauges in KNOWN_GAUGES[:-1]) + f" or {KNOWN_GAUGES[-1].engine}"
