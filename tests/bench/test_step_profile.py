"""A step's time by phase adds up to the step, and its floor is bytes over bandwidth."""

import itertools
import threading

import numpy as np
import pytest

from octavo.bench import step_profile
from octavo.bench.offline import Step
from octavo.bench.step_profile import Traffic, profile_rows, read_bytes_per_second
from octavo.engine.core import StepReport

TRAFFIC = Traffic(weight_bytes=30_000_000, kv_bytes_per_token=10_000, bytes_per_second=1e10)


def step_of(phase_seconds: list[float] | None, context: int = 1000) -> Step:
    phases = None if phase_seconds is None else np.array(phase_seconds)
    return Step(StepReport(4, context, 4, 0.020, 0.020, phases), 0.021)


def test_parts_add_up_to_the_step() -> None:
    steps = [step_of([0.008, 0.004, 0.003, 0.001, 0.001]), step_of([0.010, 0.004, 0.003, 0.001, 0.001])]
    *parts, whole = profile_rows(steps, TRAFFIC)
    assert whole.seconds == pytest.approx(0.021)
    assert sum(part.seconds for part in parts) == pytest.approx(whole.seconds)
    assert [part.name for part in parts][:2] == ["linear layers", "attention"]
    assert parts[0].seconds == pytest.approx(0.009)


def test_floors_are_bytes_over_bandwidth() -> None:
    *parts, whole = profile_rows([step_of([0.01] * 5, 1000), step_of([0.01] * 5, 3000)], TRAFFIC)
    assert parts[0].floor_seconds == pytest.approx(0.003)
    assert parts[1].floor_seconds == pytest.approx(2000 * 10_000 / 1e10)
    assert whole.floor_seconds == pytest.approx(0.005)
    assert all(part.floor_seconds == 0 for part in parts[2:])


def test_a_back_end_that_does_not_measure_has_no_profile() -> None:
    assert profile_rows([step_of(None)], TRAFFIC) == []


def test_bandwidth_is_of_all_threads_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_profile, "READ_BYTES", 1 << 20)
    lock, ticks = threading.Lock(), itertools.count()

    def clock() -> float:
        with lock:
            return float(next(ticks))

    # two threads, two readings each: the first of them to the last is 3 ticks
    assert read_bytes_per_second(2, clock) == pytest.approx((1 << 20) / 3, rel=0.01)
