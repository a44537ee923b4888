"""Whether this replica would answer a request now, and the right way: /readyz.

An engine can be up and compute nonsense (bad memory, a driver gone wrong). So a short prompt's greedy answer
is recorded at start, and asked for again.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

from octavo.core.errors import OctavoError
from octavo.core.sampling_params import SamplingParams
from octavo.engine.client import EngineClient
from octavo.server.services import Drain

NUM_ANSWER_TOKENS = 4
PROBE_PRIORITY = -1  # ahead of what clients ask
PROBE_SEED = 0  # without effect on a greedy answer


class Readiness:
    """Probes at most once in cache_seconds, however often it is asked."""

    def __init__(
        self,
        engine: EngineClient,
        drain: Drain,
        prompt: Sequence[int],
        *,
        cache_seconds: float = 5.0,
        probe_timeout_seconds: float = 10.0,
        progress_limit_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._drain = drain
        self._prompt = list(prompt)
        self._cache_seconds = cache_seconds
        self._probe_timeout_seconds = probe_timeout_seconds
        self._progress_limit_seconds = progress_limit_seconds
        self._clock = clock
        self._expected: list[int] = []
        self._num_probes = 0
        self._last_result: str | None = None
        self._checked_at = 0.0
        self._lock = asyncio.Lock()

    async def record(self) -> None:
        """Learn the right answer, at start. Raises EngineError."""
        self._expected = await self._ask()
        self._checked_at = self._clock()

    async def complaint(self) -> str | None:
        """Why a request would fail now; None when it would not."""
        if self._drain.has_begun:
            return "The server is shutting down."
        if not self._engine.is_ready:
            return "The engine is being restarted."
        stalled = self._engine.seconds_since_progress
        if stalled > self._progress_limit_seconds:
            return f"The engine has made no progress for {stalled:.0f} seconds."
        async with self._lock:
            if self._clock() - self._checked_at >= self._cache_seconds:
                self._last_result = await self._probe()
                self._checked_at = self._clock()
            return self._last_result

    async def _probe(self) -> str | None:
        try:
            async with asyncio.timeout(self._probe_timeout_seconds):
                answer = await self._ask()
        except TimeoutError:
            return f"The engine did not answer a probe within {self._probe_timeout_seconds:g} seconds."
        except OctavoError as error:
            return f"The engine failed a probe: {error}"
        if answer != self._expected:
            return "The engine's answer to a probe is not the one it gave at start."
        return None

    async def _ask(self) -> list[int]:
        self._num_probes += 1
        stream = self._engine.submit(
            self._prompt,
            SamplingParams(temperature=0, max_tokens=NUM_ANSWER_TOKENS, ignore_eos=True),
            request_id=f"probe-{self._num_probes}",
            seed=PROBE_SEED,
            priority=PROBE_PRIORITY,
            is_probe=True,
        )
        try:
            return [token_id async for output in stream for token_id in output.token_ids]
        finally:
            stream.abort()
