"""`octavo bench serve` against a server on a socket: what it asks, prints and writes, and its exit code."""

import json
import pathlib
from collections.abc import Callable

import pytest

from octavo.bench.percentiles import Percentiles
from octavo.bench.result import read_report
from octavo.cli import main as cli
from octavo.cli.bench_serve_run import told
from tests.bench.samples import sample_report, sample_result, sample_serving
from tests.cli.completions_server import CompletionsServer, completions_server

SMALL = ("--num-requests", "4", "--input-tokens", "20", "--output-tokens", "3", "--seed", "1")


def bench(server: CompletionsServer, *arguments: str) -> int:
    return cli.main(["bench", "serve", "--base-url", server.url, *SMALL, *arguments])


def test_a_sweep_is_printed_and_written(tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = tmp_path / "found.json", tmp_path / "found.html"
    with completions_server() as server:
        written = ("--json", str(files[0]), "--html", str(files[1]))
        assert bench(server, "--concurrency", "1,2,3", "--label", "A server", *written) == 0
    printed = capfd.readouterr()
    assert printed.err == ""  # no terminal, no progress
    assert printed.out.startswith("A server: tiny, random workload\n")
    assert "knee: " in printed.out and "tokens counted by: usage" in printed.out
    report = read_report(files[0])
    assert [result.serving.load for result in report.results] == ["1 user", "2 users", "3 users"]
    assert all(result.num_requests == 4 for result in report.results)
    assert report.workload["model"] == "tiny" and report.workload["seed"] == 1
    assert "A server under load" in files[1].read_text()
    assert len(server.bodies) == 13 and set(server.paths) == {"/v1/completions"}
    assert all(len(body["prompt"]) == 20 and body["max_tokens"] == 3 for body in server.bodies)


def test_rates_and_targets(capfd: pytest.CaptureFixture[str]) -> None:
    with completions_server() as server:
        assert (
            bench(server, "--rate", "50", "--arrivals", "even", "--target-ttft", "30", "--api", "chat") == 0
        )
    out = capfd.readouterr().out
    assert "\n50/s " in out and "GOOD" in out and "100%" in out
    assert "the most load with 99% of the requests within the targets: 50 requests/s" in out
    assert set(server.paths) == {"/v1/chat/completions"} and "messages" in server.bodies[0]


@pytest.mark.parametrize("request_rate", (None, 0.25, 100.0))
def test_a_table_with_large_figures_fits_a_terminal(request_rate: float | None) -> None:
    late = Percentiles.of([98.765, 98.765])
    serving = sample_serving(
        load="1000 users" if request_rate is None else f"{request_rate} requests/s",
        request_rate=request_rate,
        requests_per_second=1234.5,
        num_failed=1234,
        failures={"HTTP 503": 1234},
        good_share=1.0,
    )
    result = sample_result(
        output_tokens_per_second=123_456.7,
        ttft_seconds=late,
        itl_seconds=Percentiles.of([1.234, 1.234]),
        e2e_seconds=Percentiles.of([1234.5]),
        num_requests=5000,
        serving=serving,
    )
    report = sample_report(result)
    report.workload["model"] = "tiny"
    lines = list(told(report))
    assert lines[3].split()[-6:] == ["98,765", "1,234", "1,234", "1,234", "1,234", "100%"]
    assert max(map(len, lines)) <= 80


def test_refusals_are_failures_and_an_exit_code(capfd: pytest.CaptureFixture[str]) -> None:
    with completions_server(refuse_from=4) as server:
        assert bench(server, "--concurrency", "1", "--target-e2e", "30") == 1
    out = capfd.readouterr().out
    assert "1 user: 2 of 4 failed: HTTP 429" in out and "50%" in out
    assert "within the targets: none of these loads" in out


def test_a_server_that_refuses_the_first_request_is_not_measured(complaint: Callable[..., str]) -> None:
    with completions_server(refuse_from=1) as server:
        line = complaint("serve", "--base-url", server.url, *SMALL, command="bench")
    assert line == f"octavo: The first request to {server.url} failed: HTTP 429."
    assert len(server.bodies) == 1


def test_nobody_listens(complaint: Callable[..., str]) -> None:
    line = complaint("serve", "--base-url", "http://127.0.0.1:1", command="bench")
    assert line == "octavo: http://127.0.0.1:1 cannot be reached."


@pytest.mark.parametrize(
    ("arguments", "num_requests"),
    [
        (("--workload", "multi-turn", "--turns", "2", "--api", "chat"), 4),
        (("--workload", "shared-prefix", "--prefix-tokens", "50"), 4),
        (("--no-ignore-eos", "--model", "mine", "--api-key", "secret"), 4),
    ],
)
def test_workloads(arguments: tuple[str, ...], num_requests: int) -> None:
    with completions_server() as server:
        assert bench(server, "--concurrency", "2", *arguments) == 0
    asked = server.bodies[1:]
    assert len(asked) == num_requests
    if "multi-turn" in arguments:
        assert sorted(len(body["messages"]) for body in asked) == [1, 1, 3, 3]
    if "shared-prefix" in arguments:
        assert {len(body["prompt"]) for body in asked} == {70}
    if "mine" in arguments:
        assert {body["model"] for body in asked} == {"mine"} and "ignore_eos" not in asked[0]
        assert set(server.keys) == {"Bearer secret"}


def trace_of(tmp_path: pathlib.Path, *lines: dict[str, object]) -> str:
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


def test_a_trace(tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = [{"timestamp": 20 * i, "input_length": 5 + i, "output_length": 2} for i in range(6)]
    path = trace_of(tmp_path, *lines)
    with completions_server() as server:
        assert (
            cli.main(["bench", "serve", "--base-url", server.url, "--workload", "trace", "--trace", path])
            == 0
        )
    assert "as traced" in capfd.readouterr().out
    assert sorted(len(body["prompt"]) for body in server.bodies[1:]) == [5, 6, 7, 8, 9, 10]


def test_a_trace_without_times_needs_a_load(tmp_path: pathlib.Path, complaint: Callable[..., str]) -> None:
    path = trace_of(tmp_path, {"input_length": 5, "output_length": 2})
    with completions_server() as server:
        arguments = ("--base-url", server.url, "--workload", "trace", "--trace", path)
        line = complaint("serve", *arguments, command="bench")
        assert "no timestamp; --concurrency or --rate says when to ask" in line
        assert cli.main(["bench", "serve", *arguments, "--concurrency", "1"]) == 0
