"""Where a decode step's time goes, against what the machine's memory allows.

The floor is bandwidth alone: every weight is read once a step, every KV block of every context once. Of a
mixture of experts it counts all experts, which a small batch does not read.
"""

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from octavo.bench.offline import Step
from octavo.core.step import StepPhase

READ_BYTES = 256 << 20  # far beyond a cache's share
NUM_READS = 5

_NAMES = {
    StepPhase.LINEAR: "linear layers",
    StepPhase.ATTENTION: "attention",
    StepPhase.ROWS: "norms, rotary, activation",
    StepPhase.SAMPLING: "sampling",
    StepPhase.CHANGES: "blocks cleared and copied",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Traffic:
    """What a step must read."""

    weight_bytes: int
    kv_bytes_per_token: float  # of context, all layers
    bytes_per_second: float  # what the machine reads at most


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One part of a step. Seconds are means over the steps; floor_seconds is 0 where nothing must be read."""

    name: str
    seconds: float
    floor_seconds: float = 0.0


def profile_rows(steps: Sequence[Step], traffic: Traffic) -> list[Row]:
    """Of steps of one kind; parts, then their sum. [] when no step says what its time went into."""
    measured = [step.report.phase_seconds for step in steps if step.report.phase_seconds is not None]
    if not measured:
        return []
    phases = np.mean(measured, axis=0)
    context = float(np.mean([step.report.num_context_tokens for step in steps]))
    floors = {
        StepPhase.LINEAR: traffic.weight_bytes / traffic.bytes_per_second,
        StepPhase.ATTENTION: context * traffic.kv_bytes_per_token / traffic.bytes_per_second,
    }
    backend = float(np.mean([step.report.seconds for step in steps]))
    whole = float(np.mean([step.seconds for step in steps]))
    rows = [Row(name, float(phases[phase]), floors.get(phase, 0.0)) for phase, name in _NAMES.items()]
    rows += [
        Row("calls into native code", backend - float(phases.sum())),
        Row("schedule and update", whole - backend),
    ]
    return [*rows, Row("step", whole, sum(floors.values()))]


def read_bytes_per_second(num_threads: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """What so many threads read from memory at once: the best of a few passes over arrays of their own.

    A pass begins when the first thread does and ends when the last one has; the clock is read by the threads.
    """
    arrays = [np.ones(READ_BYTES // 8 // num_threads, np.uint64) for _ in range(num_threads)]
    barrier = threading.Barrier(num_threads)
    times = np.zeros((num_threads, NUM_READS, 2))

    def read(thread: int) -> None:
        for i in range(NUM_READS):
            barrier.wait()
            times[thread, i, 0] = clock()
            np.bitwise_or.reduce(arrays[thread])
            times[thread, i, 1] = clock()

    threads = [threading.Thread(target=read, args=(thread,)) for thread in range(num_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = times[:, :, 1].max(axis=0) - times[:, :, 0].min(axis=0)
    return float(sum(array.nbytes for array in arrays) / seconds.min())
