"""From the records of a cell to its figures. Knows nothing of how they came about."""

import collections
import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from octavo.bench.answer import Record
from octavo.bench.lag import ClientLag, LagMeter, complaint
from octavo.bench.percentiles import Percentiles
from octavo.bench.result import Result, Serving

NUM_QUANTILES = 41  # of a distribution as it is drawn


@dataclasses.dataclass(frozen=True, slots=True)
class Targets:
    """What a good answer keeps to, in seconds; None: whatever it is."""

    ttft: float | None = None
    tpot: float | None = None  # mean time per output token after the first
    e2e: float | None = None

    @property
    def are_set(self) -> bool:
        return any(value is not None for value in dataclasses.astuple(self))

    def are_met_by(self, record: Record) -> bool:
        if record.failure is not None:
            return False
        return (
            (self.ttft is None or record.ttft <= self.ttft)
            and (self.tpot is None or (record.tpot or 0.0) <= self.tpot)
            and (self.e2e is None or record.e2e <= self.e2e)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """One load, and what came of it."""

    engine: str
    name: str  # of the load, for people
    rate: float | None  # requests per second that were to arrive; None: a fixed concurrency
    max_running: int
    records: Sequence[Record]
    meter: LagMeter


def summarize(cell: Cell, targets: Targets) -> Result:
    """Latencies and tokens are of the requests that were answered whole; the time is that of all."""
    records = cell.records
    whole = [record for record in records if record.failure is None]
    seconds = max(record.end for record in records) - min(record.intended for record in records)
    num_prompt = sum(record.num_prompt_tokens or 0 for record in whole)
    num_output = sum(record.num_output_tokens for record in whole)
    ttft = Percentiles.of(record.ttft for record in whole)
    itl = Percentiles.of(itertools.chain.from_iterable(record.gaps for record in whole))
    return Result(
        engine=cell.engine,
        concurrency=cell.max_running,
        output_tokens_per_second=num_output / seconds,
        total_tokens_per_second=(num_prompt + num_output) / seconds,
        ttft_seconds=ttft,
        itl_seconds=itl,
        e2e_seconds=Percentiles.of(record.e2e for record in whole),
        start_seconds=None,
        peak_memory_bytes=None,
        runs=[num_output / seconds],
        num_requests=len(records),
        serving=_serving(cell, targets, whole, seconds, min(ttft.p50, itl.p99 or ttft.p50)),
    )


def _serving(
    cell: Cell, targets: Targets, whole: Sequence[Record], seconds: float, shortest_seconds: float
) -> Serving:
    failures = collections.Counter(record.failure for record in cell.records if record.failure is not None)
    num_good = sum(map(targets.are_met_by, cell.records))
    client = ClientLag(
        event_loop=Percentiles.of(cell.meter.samples),
        send=Percentiles.of(record.sent - record.intended for record in cell.records if record.sent),
        cpu_share=cell.meter.cpu_share,
    )
    return Serving(
        load=cell.name,
        request_rate=cell.rate,
        seconds=seconds,
        num_failed=len(cell.records) - len(whole),
        failures=dict(failures.most_common()),
        requests_per_second=len(whole) / seconds,
        tpot_seconds=Percentiles.of(record.tpot for record in whole if record.tpot is not None),
        mean_prompt_tokens=_mean([record.num_prompt_tokens or 0 for record in whole]),
        mean_output_tokens=_mean([record.num_output_tokens for record in whole]),
        tokens_counted_by=_counted_by(whole),
        goodput=num_good / seconds if targets.are_set else None,
        good_share=num_good / len(cell.records) if targets.are_set else None,
        client=client,
        void=complaint(client, shortest_seconds),
        ttft_quantiles=_quantiles([record.ttft for record in whole]),
        e2e_quantiles=_quantiles([record.e2e for record in whole]),
    )


def _counted_by(whole: Sequence[Record]) -> str:
    kinds = {record.has_usage for record in whole}
    return "usage" if kinds == {True} else "events" if kinds == {False} else "usage, where there is one"


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _quantiles(values: Sequence[float]) -> list[float]:
    if not values:
        return []
    quantiles: list[float] = np.quantile(values, np.linspace(0, 1, NUM_QUANTILES)).tolist()
    return quantiles
