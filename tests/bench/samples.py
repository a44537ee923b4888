"""Results as they might have been found."""

from octavo.bench.result import Percentiles, Report, Result


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
