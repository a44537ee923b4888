"""What a decode step costs around the kernels: scheduling, the arrays of the native call, update, frame.

CPU time of this thread. Caches are cold when other data is read between two steps, as the kernels do: a
step's Python then runs from memory, which takes two to three times as long as in a tight loop.
"""

import dataclasses
import gc
import os
import time

import numpy as np

from octavo.backends.cpu import library as native
from octavo.backends.cpu.step_arrays import StepResults, fill_step
from octavo.core.messages import StepFrame, Submit
from octavo.core.sampling_params import SamplingParams
from octavo.core.step import Masks, StepInput, StepOutput, Ticket
from octavo.engine.core import EngineCore
from octavo.engine.frames import encode_frame
from octavo.engine.journal import Journal, JournalReader
from octavo.kv.manager import KVManager
from octavo.scheduler.scheduler import Scheduler

VOCAB_SIZE = 49_152
HIDDEN_SIZE = 576
NUM_PROMPT_TOKENS = 128
NUM_BLOCKS = 64_000
STEP_SECONDS = 0.01  # what the back end says a step took
CACHE_BYTES = 64 << 20
BATCH = 20  # steps

cpu_seconds = time.thread_time


class HostSide:
    """A back end that does everything of the CPU back end but the native calls. lap: its marks in time."""

    def __init__(self, *, is_cold: bool) -> None:
        self.laps: list[float] = []
        self._other_data = np.zeros(CACHE_BYTES // 8, np.uint64) if is_cold else None
        self._desc = native.StepDesc()
        self._results: StepResults | None = None

    def submit(self, step: StepInput) -> Ticket:
        self.laps.append(cpu_seconds())
        kept_alive = fill_step(self._desc, step, VOCAB_SIZE)
        self._results = StepResults(step, HIDDEN_SIZE)
        del kept_alive
        return Ticket(step.step_id)

    def collect(self, ticket: Ticket, masks: Masks | None = None) -> StepOutput:
        assert self._results is not None
        output = self._results.output(ticket.step_id, STEP_SECONDS)
        self.laps.append(cpu_seconds())
        return output

    def forget(self) -> None:
        """What a forward pass does to the caches."""
        if self._other_data is not None:
            np.bitwise_or.reduce(self._other_data)

    def close(self) -> None:
        pass


@dataclasses.dataclass(frozen=True, slots=True)
class StepCost:
    """Microseconds of a step."""

    num_requests: int
    schedule: float
    call: float
    update: float
    frame: float

    @property
    def total(self) -> float:
        return self.schedule + self.call + self.update + self.frame


class DecodingEngine:
    """An engine core in which so many requests decode, one token a step each."""

    def __init__(self, num_requests: int, *, is_cold: bool = False) -> None:
        self._backend = HostSide(is_cold=is_cold)
        self._reader = JournalReader(num_requests)
        self._core = EngineCore(
            Scheduler(KVManager(NUM_BLOCKS, 0), max_num_seqs=num_requests, max_num_batched_tokens=2048),
            self._backend,
            max_model_len=8192,
            vocab_size=VOCAB_SIZE,
            eos_token_ids=frozenset((2,)),
            fingerprint=b"host cost",
            journal=Journal(os.dup(self._reader.fd)),
        )
        sampling = SamplingParams(temperature=0.0, max_tokens=8000, ignore_eos=True)
        for number in range(num_requests):
            prompt = [number, *range(1, NUM_PROMPT_TOKENS)]
            request_id = f"chatcmpl-{number:032x}-0~{number}"
            self._core.add(Submit(request_id, prompt, len(prompt), sampling, 0, 0.0))
        while self._core.last_step is None or self._core.last_step.num_tokens != num_requests:
            self._core.step()

    def step(self) -> tuple[float, float, float, float]:
        """CPU seconds of its parts: schedule, call, update, frame."""
        self._backend.forget()
        self._backend.laps.clear()
        start = cpu_seconds()
        outputs, stats = self._core.step()
        updated = cpu_seconds()
        encode_frame(StepFrame(0, 1, outputs, stats))
        end = cpu_seconds()
        submitted, collected = self._backend.laps
        return submitted - start, collected - submitted, updated - collected, end - updated

    def close(self) -> None:
        self._core.close()
        self._reader.close()


def measure(num_requests: int, num_batches: int, *, is_cold: bool) -> StepCost:
    """The batch of steps whose medians add up to the least: what other processes cost it is least in it."""
    engine = DecodingEngine(num_requests, is_cold=is_cold)
    gc.collect()
    gc.freeze()  # as an engine process does
    batches = [np.median([engine.step() for _ in range(BATCH)], axis=0) for _ in range(num_batches)]
    engine.close()
    return StepCost(num_requests, *(1e6 * min(batches, key=sum)).tolist())
