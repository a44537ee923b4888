"""The page holds what was found, and nothing that needs a network."""

import re

import pytest

from octavo.bench.report import render_html, seconds_text, tick_text
from octavo.bench.result import Report
from tests.bench.samples import sample_report, sample_result, sample_serving


def report_of(num_loads: int, **serving: object) -> Report:
    results = [
        sample_result(
            engine="octavo <here>",
            output_tokens_per_second=100.0 * users,
            serving=sample_serving(load=f"{users} users", **serving),
        )
        for users in (1, 2, 4, 8)[:num_loads]
    ]
    report = sample_report(*results)
    report.workload |= {"model": "tiny", "kind": "random", "seed": 7, "target_ttft": 0.5}
    return report


def test_it_needs_no_network() -> None:
    page = render_html(report_of(4))
    assert not re.search(r"https?://|@import|url\(|<script|<link|<img|src=", page)


def test_every_load_has_its_line() -> None:
    page = render_html(report_of(4))
    assert all(f"<td>{users} users</td>" in page for users in (1, 2, 4, 8))
    assert page.count("<svg") == 6 and "knee" in page and "octavo &lt;here&gt; under load" in page


def test_one_load_has_no_curve_and_no_knee() -> None:
    page = render_html(report_of(1))
    assert page.count("<svg") == 2 and "Shown above" in page and "More load than that" not in page


def test_targets_and_goodput_are_shown_when_there_are_some() -> None:
    page = render_html(report_of(4, good_share=0.995, goodput=2.0))
    assert "In targets" in page
    assert "than it adds throughput. Up to 8 users, 99% of the requests keep to the targets." in page
    assert "ttft within 500 ms" in page
    assert "In targets" not in render_html(report_of(4))


def test_failures_and_void_figures_cannot_be_overlooked() -> None:
    page = render_html(report_of(2, num_failed=3, failures={"HTTP 429": 3}, void="the client was late"))
    assert "The figures at 2 users are void: the client was late." in page
    assert page.count('class="bad"') >= 4 and 'tile bad"' in page


def test_a_sweep_in_which_everything_failed_is_a_page_too() -> None:
    report = report_of(3, num_failed=24, ttft_quantiles=[], e2e_quantiles=[])
    for result in report.results:
        result.output_tokens_per_second = 0.0
    assert render_html(report).count("<svg") == 6


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.00085, "850 µs"), (0.0062, "6.2 ms"), (0.26, "260 ms"), (1.2, "1.20 s"), (21.84, "21.8 s")],
)
def test_times_are_as_exact_as_they_are_useful(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0 s"), (0.05, "50 ms"), (0.0005, "0.5 ms"), (2.0, "2 s")]
)
def test_ticks_are_short(seconds: float, text: str) -> None:
    assert tick_text(seconds) == text


def test_the_page_is_whole() -> None:
    page = render_html(report_of(4, good_share=1.0))
    assert page.startswith("<!DOCTYPE html>") and page.rstrip().endswith("</html>")
    for tag in ("div", "section", "table", "svg", "g", "span", "td", "th", "tr"):
        assert len(re.findall(rf"<{tag}[ >]", page)) == page.count(f"</{tag}>"), tag
