"""What a benchmark found: one schema for every kind of run, and how it is written.

Stable: fields are added, never renamed or given another meaning; SCHEMA_VERSION counts additions.
"""

import pathlib
from collections.abc import Sequence

import msgspec
import numpy as np

from octavo.bench.lag import ClientLag
from octavo.bench.percentiles import Percentiles

SCHEMA_VERSION = 1


class Serving(msgspec.Struct, kw_only=True):
    """What a server's clients saw of one load. Latencies count from the moment a request was to be sent."""

    load: str  # its name, for people
    request_rate: float | None  # requests per second that were to arrive; None: a fixed concurrency
    seconds: float  # from the first request to the last answer's end
    num_failed: int  # refused, broken off, timed out, without a token
    failures: dict[str, int]  # by reason
    requests_per_second: float  # answered whole
    tpot_seconds: Percentiles  # of each request: mean time per output token after the first
    mean_prompt_tokens: float
    mean_output_tokens: float
    tokens_counted_by: str  # usage (the server's own count), or events that carried text
    goodput: float | None  # requests per second that met every target; None without targets
    good_share: float | None  # of all requests
    client: ClientLag
    void: str | None  # why these figures are the client's and not the server's, if they are
    ttft_quantiles: list[float]  # evenly spaced, from the least to the most
    e2e_quantiles: list[float]


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
    serving: Serving | None = None  # None: the engine alone


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
