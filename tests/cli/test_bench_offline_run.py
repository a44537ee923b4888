"""`octavo bench offline` with the built-in model: a small burst, what it prints and what it writes."""

import pathlib
from collections.abc import Callable

import pytest

from octavo.bench.result import read_report
from octavo.cli import main as cli

SMALL = ("--input-tokens", "20", "--output-tokens", "4", "--kv-cache-memory", "32MiB", "--runs", "2")


def test_a_table_a_profile_and_a_file(
    smollm2_path: pathlib.Path, tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("octavo.bench.step_profile.READ_BYTES", 1 << 20)
    path = tmp_path / "found.json"
    arguments = ("--concurrency", "1,3", *SMALL, "--kv-dtype", "int8", "--profile", "--json", str(path))
    arguments += ("--activation-dtype", "int8")
    assert cli.main(["bench", "offline", "--model", str(smollm2_path), *arguments]) == 0
    printed = capfd.readouterr()
    assert printed.err == ""  # no terminal, no progress
    report = read_report(path)
    assert [result.concurrency for result in report.results] == [1, 3]
    for result in report.results:
        assert result.num_requests == 2 * result.concurrency
        assert result.total_tokens_per_second == pytest.approx(6 * result.output_tokens_per_second)
        assert f"{result.output_tokens_per_second:,.0f}" in printed.out
        assert result.start_seconds and result.peak_memory_bytes and result.step_time_error is not None
    assert report.workload["input_tokens"] == 20 and report.machine["threads"]
    assert report.workload["kv_dtype"] == "int8" and "KV cache int8" in printed.out
    assert report.workload["activation_dtype"] == "int8" and "activations int8" in printed.out
    assert "step-time model: mean error" in printed.out
    assert max(map(len, printed.out.splitlines())) <= 80
    assert "3 at once: 6 steps that only decode" in printed.out
    assert "linear layers" in printed.out and "schedule and update" in printed.out


def test_more_tokens_than_the_context_are_refused(
    smollm2_path: pathlib.Path, complaint: Callable[..., str]
) -> None:
    arguments = ("--model", str(smollm2_path), "--input-tokens", "60", "--output-tokens", "5")
    line = complaint("offline", *arguments, "--max-model-len", "64", command="bench")
    assert "are 65 together; allowed: up to 64 (--max-model-len)" in line


def test_more_tokens_than_the_kv_cache_are_refused(
    smollm2_path: pathlib.Path, complaint: Callable[..., str]
) -> None:
    arguments = ("--model", str(smollm2_path), "--input-tokens", "60", "--output-tokens", "5")
    line = complaint("offline", *arguments, "--kv-cache-memory", "900KB", command="bench")
    assert "does not fit into the KV cache" in line
