"""The engine alone: bursts of random prompts through an engine core in this process, and what each step took.

Knows nothing of files and terminals. A burst's requests arrive in one instant; its rate counts all output
tokens over the time until the last one, prefill included.
"""

import dataclasses
import random
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from octavo.bench.percentiles import Percentiles
from octavo.bench.result import Result, median
from octavo.core.errors import EngineError
from octavo.core.messages import EngineStats, RequestOutput, Submit
from octavo.core.sampling_params import SamplingParams
from octavo.engine.core import StepReport

Clock = Callable[[], float]


class Core(Protocol):
    """What a burst needs of engine/core.py. last_step: of the step that has just been made."""

    last_step: StepReport | None

    @property
    def has_work(self) -> bool: ...

    def add(self, submit: Submit) -> None: ...

    def step(self) -> tuple[list[RequestOutput], EngineStats]: ...

    def do_idle_work(self) -> bool: ...


@dataclasses.dataclass(frozen=True, slots=True)
class BurstSize:
    concurrency: int
    input_tokens: int  # of each prompt
    output_tokens: int  # of each answer; end tokens do not end one


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A step of the engine and how long it took with all that Python does around the back end."""

    report: StepReport
    seconds: float

    @property
    def relative_error(self) -> float:
        return abs(self.report.predicted_seconds - self.report.seconds) / self.report.seconds

    @property
    def is_decode(self) -> bool:
        return self.report.num_tokens == self.report.num_requests


@dataclasses.dataclass(slots=True)
class Burst:
    """What happened. Times are from the moment the requests arrived."""

    seconds: float
    ttft: list[float]
    gaps: list[float]  # between outputs of one request
    ends: list[float]
    steps: list[Step]


class OfflineBench:
    """Prompts are random and never repeat, so no burst finds another one's blocks in the prefix cache."""

    def __init__(self, core: Core, vocab_size: int, *, seed: int = 0, clock: Clock = time.perf_counter):
        self._core = core
        self._vocab_size = vocab_size
        self._random = random.Random(seed)
        self._clock = clock
        self._num_submitted = 0

    def run(self, size: BurstSize) -> Burst:
        """Raises EngineError when a request fails: a figure without it would be wrong."""
        while self._core.do_idle_work():
            pass  # as in a server that waits for requests
        start = self._clock()
        last: dict[str, float] = {self._submit(size): start for _ in range(size.concurrency)}
        burst, first, now = Burst(0.0, [], [], [], []), set(last), start
        while self._core.has_work:
            outputs, _ = self._core.step()
            began, now = now, self._clock()
            if self._core.last_step is not None:
                burst.steps.append(Step(self._core.last_step, now - began))
            for output in outputs:
                if output.error is not None:
                    raise EngineError(f"A request of the benchmark failed: {output.error}")
                if output.request_id in first:
                    first.remove(output.request_id)
                    burst.ttft.append(now - start)
                else:
                    burst.gaps.append(now - last[output.request_id])
                last[output.request_id] = now
                if output.finish_reason is not None:
                    burst.ends.append(now - start)
        burst.seconds = now - start
        return burst

    def _submit(self, size: BurstSize) -> str:
        self._num_submitted += 1
        request_id = f"bench-{self._num_submitted}"
        prompt = [self._random.randrange(self._vocab_size) for _ in range(size.input_tokens)]
        sampling = SamplingParams(temperature=0, max_tokens=size.output_tokens, ignore_eos=True)
        self._core.add(Submit(request_id, prompt, len(prompt), sampling, 0, time.monotonic()))
        return request_id


def summarize(
    size: BurstSize, bursts: Sequence[Burst], *, start_seconds: float, peak_memory_bytes: int
) -> Result:
    """Of the bursts of one size."""
    num_output = size.concurrency * size.output_tokens
    rates = [num_output / burst.seconds for burst in bursts]
    return Result(
        engine="octavo",
        concurrency=size.concurrency,
        output_tokens_per_second=median(rates),
        total_tokens_per_second=median(rates) * (1 + size.input_tokens / size.output_tokens),
        ttft_seconds=Percentiles.of(value for burst in bursts for value in burst.ttft),
        itl_seconds=Percentiles.of(value for burst in bursts for value in burst.gaps),
        e2e_seconds=Percentiles.of(value for burst in bursts for value in burst.ends),
        start_seconds=start_seconds,
        peak_memory_bytes=peak_memory_bytes,
        runs=rates,
        num_requests=size.concurrency * len(bursts),
        step_time_error=Percentiles.of(step.relative_error for burst in bursts for step in burst.steps).mean,
    )
