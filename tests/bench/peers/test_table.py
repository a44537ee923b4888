from octavo.bench.peers.table import comparison_lines
from octavo.bench.percentiles import Percentiles
from octavo.bench.result import Result
from tests.bench.peers.fake_peer import FakePeer
from tests.bench.samples import sample_result


def result(engine: str, load: int, *rates: float, **changes: object) -> Result:
    median = sorted(rates)[len(rates) // 2]
    return sample_result(
        engine=engine, concurrency=load, output_tokens_per_second=median, runs=list(rates), **changes
    )


PEERS = [FakePeer("octavo"), FakePeer("b", facts="built thus"), FakePeer("c")]


def test_rates_ranges_and_the_ratio_to_the_best_other() -> None:
    lines = list(
        comparison_lines(
            [
                result("octavo", 1, 90, 100, 110),
                result("octavo", 8, 1000.0),
                result("b", 1, 40.0),
                result("c", 1, 50.0),
            ],
            PEERS,
            {},
        )
    )
    assert lines[2:8] == [
        "| at once | 1 | 8 |", "|---|---|---|", "| octavo | 100 (90-110) | 1,000 |",
        "| b | 40 |  |", "| c | 50 |  |",
        "| octavo / best other | 2.00 x |  |",
    ]  # fmt: skip


def test_latencies_starts_and_memory() -> None:
    results = [
        result("b", 1, 40.0, ttft_seconds=Percentiles(p50=0.05, p99=0.2), start_seconds=1.5),
        result("b", 8, 40.0, start_seconds=1.2, peak_memory_bytes=400 << 20),
    ]
    lines = list(comparison_lines(results, PEERS, {}))
    assert any(line.startswith("| b | 50 ms / 200 ms | ") for line in lines)
    assert lines[-1] == "| b | 1.20 s | 400 MiB | built thus |"
    assert not any("best other" in line for line in lines)


def test_what_nobody_measured_is_left_blank() -> None:
    lines = list(
        comparison_lines([result("c", 1, 0.0, start_seconds=None, peak_memory_bytes=None)], PEERS, {})
    )
    assert lines[-1] == "| c |  |  | made for a test |"


def test_ours_is_every_octavo() -> None:
    lines = list(comparison_lines([result("octavo-bf16", 1, 30.0), result("c", 1, 20.0)], PEERS, {}))
    assert "| octavo / best other | 1.50 x |" in lines


def test_there_is_no_ratio_to_nothing() -> None:
    lines = list(comparison_lines([result("octavo", 1, 9.0), result("c", 1, 0.0)], PEERS, {}))
    assert not any("best other" in line for line in lines)


def test_failures_stand_beside_the_rate() -> None:
    lines = list(comparison_lines([result("c", 8, 9.0, num_requests=24)], PEERS, {("c", 8): 3}))
    assert "| c | 9, 3 of 24 requests failed |" in lines
