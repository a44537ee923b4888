"""Figures of records whose times are known."""

import array

import pytest

from octavo.bench.answer import Record
from octavo.bench.lag import LagMeter
from octavo.bench.percentiles import Percentiles
from octavo.bench.result import Result, Serving
from octavo.bench.summary import Cell, Targets, summarize


def record(intended: float, first: float, gaps: list[float], **changes: object) -> Record:
    last = first + sum(gaps)
    values = {"sent": intended, "first": first, "last": last, "end": last, "num_prompt_tokens": 10}
    values |= {"num_output_tokens": 1 + len(gaps), "has_usage": True, "gaps": array.array("d", gaps)}
    return Record(intended, **(values | changes))


RECORDS = [
    record(0.0, 1.0, [0.5, 0.5]),  # ttft 1, tpot 0.5, e2e 2
    record(0.0, 3.0, [0.25]),  # ttft 3, tpot 0.25, e2e 3.25
    record(1.0, 2.0, [2.0, 1.0, 1.0]),  # ttft 1, tpot 4/3, e2e 5
    record(1.0, 1.5, [], failure="HTTP 429", end=1.5, num_output_tokens=99),
]


def cell(records: list[Record], lag: list[float] = [0.0]) -> Cell:  # noqa: B006
    meter = LagMeter(lambda: 0.0)
    meter.samples.extend(lag)
    meter.cpu_share = 0.2
    return Cell("a server", "2 users", None, 2, records, meter)


def serving_of(result: Result) -> Serving:
    assert result.serving is not None
    return result.serving


def test_rates_are_over_the_whole_time_and_of_whole_answers() -> None:
    result = summarize(cell(RECORDS), Targets())
    serving = serving_of(result)
    assert serving.seconds == 6.0
    assert result.output_tokens_per_second == pytest.approx(9 / 6)
    assert result.total_tokens_per_second == pytest.approx((9 + 30) / 6)
    assert serving.requests_per_second == pytest.approx(3 / 6)
    assert (serving.mean_prompt_tokens, serving.mean_output_tokens) == (10, 3)


def test_latencies_are_those_of_the_records() -> None:
    result = summarize(cell(RECORDS), Targets())
    assert result.ttft_seconds == Percentiles.of([1.0, 3.0, 1.0])
    assert result.itl_seconds == Percentiles.of([0.5, 0.5, 0.25, 2.0, 1.0, 1.0])
    assert result.e2e_seconds == Percentiles.of([2.0, 3.25, 5.0])
    assert serving_of(result).tpot_seconds == Percentiles.of([0.5, 0.25, 4 / 3])
    assert serving_of(result).ttft_quantiles[::20] == [1.0, 1.0, 3.0]


def test_a_refusal_is_a_failure() -> None:
    serving = serving_of(summarize(cell(RECORDS), Targets()))
    assert (serving.num_failed, serving.failures) == (1, {"HTTP 429": 1})


@pytest.mark.parametrize(
    ("targets", "num_good"),
    [
        (Targets(ttft=1.0), 2),
        (Targets(tpot=0.5), 2),
        (Targets(e2e=4.0), 2),
        (Targets(ttft=1.0, tpot=0.5), 1),
        (Targets(ttft=9.0, tpot=9.0, e2e=9.0), 3),  # the refused one is never good
        (Targets(ttft=0.1), 0),
    ],
)
def test_goodput_counts_who_meets_every_target(targets: Targets, num_good: int) -> None:
    serving = serving_of(summarize(cell(RECORDS), targets))
    assert serving.goodput == pytest.approx(num_good / 6) and serving.good_share == num_good / 4


def test_without_targets_there_is_no_goodput() -> None:
    serving = serving_of(summarize(cell(RECORDS), Targets()))
    assert serving.goodput is None and serving.good_share is None


def test_one_token_meets_any_target_between_tokens() -> None:
    assert Targets(tpot=0.01).are_met_by(record(0.0, 1.0, []))


def test_when_everything_fails_there_are_no_latencies() -> None:
    result = summarize(cell([RECORDS[-1]]), Targets(ttft=1.0))
    assert result.output_tokens_per_second == 0 and result.ttft_seconds == Percentiles()
    assert serving_of(result).good_share == 0 and serving_of(result).ttft_quantiles == []


@pytest.mark.parametrize(
    ("flags", "counted_by"),
    [([True], "usage"), ([False], "events"), ([True, False], "usage, where there is one")],
)
def test_how_tokens_were_counted_is_said(flags: list[bool], counted_by: str) -> None:
    records = [record(0.0, 1.0, [0.1], has_usage=flag) for flag in flags]
    assert serving_of(summarize(cell(records), Targets())).tokens_counted_by == counted_by


def test_a_late_client_voids_the_figures() -> None:
    """TTFT p50 is 1 s and ITL p99 near 2 s: a tenth of the less is 100 ms."""
    assert serving_of(summarize(cell(RECORDS, [0.09]), Targets())).void is None
    assert serving_of(summarize(cell(RECORDS, [0.11]), Targets())).void is not None


def test_the_clients_own_delays_are_reported() -> None:
    late = record(0.0, 1.0, [0.1], sent=0.25)
    client = serving_of(summarize(cell([late]), Targets())).client
    assert client.send.p50 == 0.25 and client.cpu_share == 0.2
