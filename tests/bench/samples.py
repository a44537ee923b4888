"""Results as they might have been found."""

from octavo.bench.lag import ClientLag
from octavo.bench.percentiles import Percentiles
from octavo.bench.result import Report, Result, Serving


def sample_result(**changes: object) -> Result:
    values: dict[str, object] = {
        "engine": "octavo",
        "concurrency": 8,
        "output_tokens_per_second": 528.0,
        "total_tokens_per_second": 1056.0,
        "ttft_seconds": Percentiles.of([0.1, 0.2, 0.3]),
        "itl_seconds": Percentiles.of([0.01, 0.02]),
        "e2e_seconds": Percentiles.of([1.0, 2.0]),
        "start_seconds": 1.1,
        "peak_memory_bytes": 300 << 20,
        "runs": [517.0, 528.0, 560.0],
        "num_requests": 24,
    }
    return Result(**(values | changes))  # type: ignore[arg-type]


def sample_report(*results: Result) -> Report:
    return Report(
        octavo_version="0.1.0",
        date="2026-11-25T18:29:23+00:00",
        machine={"processor": "one of a test", "cores": 2},
        workload={"kind": "random", "input_tokens": 128, "output_tokens": 128},
        results=list(results) or [sample_result()],
    )


def sample_serving(**changes: object) -> Serving:
    values: dict[str, object] = {
        "load": "8 users",
        "request_rate": None,
        "seconds": 12.0,
        "num_failed": 0,
        "failures": {},
        "requests_per_second": 2.0,
        "tpot_seconds": Percentiles.of([0.015]),
        "mean_prompt_tokens": 128.0,
        "mean_output_tokens": 128.0,
        "tokens_counted_by": "usage",
        "goodput": None,
        "good_share": None,
        "client": ClientLag(Percentiles.of([1e-4]), Percentiles.of([1e-4]), 0.1),
        "void": None,
        "ttft_quantiles": [0.1 + i / 200 for i in range(41)],
        "e2e_quantiles": [1.0 + i / 40 for i in range(41)],
    }
    return Serving(**(values | changes))  # type: ignore[arg-type]
