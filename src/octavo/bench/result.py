"""What a benchmark found: one schema for every kind of run, and how it is written.

Stable: fields are added, never renamed or given another meaning; SCHEMA_VERSION counts additions.
"""

import pathlib
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

SCHEMA_VERSION = 1


class Percentiles(msgspec.Struct, frozen=True):
    """Of a sample in seconds, interpolated linearly between its order statistics; all 0 without a sample."""

    mean: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    max: float = 0.0

    @classmethod
    def of(cls, sample: Iterable[float]) -> "Percentiles":
        values = np.fromiter(sample, np.float64)
        if not len(values):
            return cls()
        p50, p90, p99 = np.percentile(values, (50, 90, 99)).tolist()
        return cls(float(values.mean()), p50, p90, p99, float(values.max()))


class Result(msgspec.Struct, kw_only=True):
    """One cell: an engine under one load. Times in seconds; rates are of the whole cell, prefill included."""

    engine: str
    concurrency: int  # requests at once; of an open loop, the most that ever were
    output_tokens_per_second: float  # the median over runs
    total_tokens_per_second: float  # prompt tokens counted too
    ttft_seconds: Percentiles  # to the first token
    itl_seconds: Percentiles  # between two outputs of one request
    e2e_seconds: Percentiles
    start_seconds: float | None  # from nothing to a first token; None: somebody else started it
    peak_memory_bytes: int | None  # resident; None: not on this machine
    runs: list[float]  # output_tokens_per_second of each
    num_requests: int
    step_time_error: float | None = None  # mean |predicted - taken| / taken over the engine's steps


class Report(msgspec.Struct, kw_only=True):
    """A file of results."""

    schema_version: int = SCHEMA_VERSION
    octavo_version: str
    date: str  # ISO 8601, with its offset
    machine: dict[str, str | int]
    workload: dict[str, str | int | float | bool | None]
    results: list[Result]


def write_report(report: Report, path: pathlib.Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def read_report(path: pathlib.Path) -> Report:
    """Raises msgspec.ValidationError for a file of another kind."""
    return msgspec.json.decode(path.read_bytes(), type=Report)


def median(values: Sequence[float]) -> float:
    return float(np.median(values))
