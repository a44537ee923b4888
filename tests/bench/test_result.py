"""The schema of results is kept."""

import json
import pathlib

import msgspec
import pytest

from octavo.bench.result import Report, median, read_report, write_report
from tests.bench.samples import sample_report

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "bench_schema.json"


def test_a_report_survives_its_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "report.json"
    write_report(sample_report(), path)
    assert read_report(path) == sample_report()


def test_a_file_of_another_kind_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "report.json"
    path.write_text('{"results": []}')
    with pytest.raises(msgspec.ValidationError, match="missing required field"):
        read_report(path)


def test_the_schema_is_the_one_that_was_promised() -> None:
    """Fields may be added: then write the schema anew, and raise SCHEMA_VERSION."""
    assert msgspec.json.schema(Report) == json.loads(GOLDEN.read_text())


def test_the_fields_that_everybody_reads() -> None:
    [result] = msgspec.to_builtins(sample_report())["results"]
    assert {
        "engine", "concurrency", "output_tokens_per_second", "total_tokens_per_second", "ttft_seconds",
        "itl_seconds", "start_seconds", "peak_memory_bytes",
    } <= result.keys()  # fmt: skip
    assert {"p50", "p99"} <= result["ttft_seconds"].keys()


def test_a_median_is_of_all_runs() -> None:
    assert median([3.0, 1.0, 10.0]) == 3.0
