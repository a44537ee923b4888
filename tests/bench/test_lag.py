"""The load generator knows when it is late itself."""

import asyncio

import pytest

from octavo.bench.lag import ClientLag, LagMeter, complaint
from octavo.bench.percentiles import Percentiles
from tests.bench.virtual_loop import now, run_virtually


def lag(event_loop: float = 0.0, cpu_share: float = 0.1) -> ClientLag:
    return ClientLag(Percentiles.of([event_loop]), Percentiles(), cpu_share)


def measure(clock_step: float) -> LagMeter:
    """clock_step: by how much the clock is later each time it is read, as of a client that is busy."""
    reads = 0

    def clock() -> float:
        nonlocal reads
        reads += 1
        return now() + clock_step * reads

    async def main() -> LagMeter:
        meter = LagMeter(clock, cpu_clock=lambda: 0.25 * now())
        async with meter.measuring():
            await asyncio.sleep(1.0)
        return meter

    return run_virtually(main())


def test_a_client_in_time_has_no_lag() -> None:
    meter = measure(0.0)
    assert len(meter.samples) >= 99 and max(meter.samples) < 1e-9
    assert meter.cpu_share == pytest.approx(0.25)


def test_a_late_client_knows_how_late() -> None:
    assert list(measure(0.02).samples) == pytest.approx([0.02] * len(measure(0.02).samples))


def test_lag_beyond_a_tenth_of_what_is_measured_voids_it() -> None:
    assert complaint(lag(0.009), 0.1) is None
    assert complaint(lag(0.011), 0.1) == "the client's event loop was late by 11.0 ms (p99)"


def test_a_timers_coarseness_is_no_lag() -> None:
    assert complaint(lag(0.0009), 0.002) is None


def test_a_client_that_fills_its_core_is_the_limit() -> None:
    assert complaint(lag(0.0, cpu_share=0.95), 0.1) == "the client used 95% of a core"
