"""A report of a sweep as one HTML page that needs nothing else: what to show to somebody who decides."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import jinja2
from markupsafe import Markup

from octavo.bench.charts import Axis, Series, line_chart, linear_axis, log_axis, name_axis
from octavo.bench.knee import GOOD_SHARE, capacity, knee
from octavo.bench.percentiles import Percentiles
from octavo.bench.result import Report, Result, Serving

TEMPLATE = pathlib.Path(__file__).with_name("report.html.j2")
LOG_RATIO = 12  # of the largest to the smallest value, from which an axis is logarithmic
MIN_LOADS_TO_DRAW = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Chart:
    title: str
    note: str
    legend: Sequence[str]
    svg: Markup


def seconds_text(value: float) -> str:
    """850 us, 6.2 ms, 260 ms, 1.20 s, 21.8 s"""
    if value < 1e-3:
        return f"{1e6 * value:.0f} µs"
    if value < 1:
        return f"{1e3 * value:.{0 if value >= 0.02 else 1}f} ms"
    return f"{value:.{2 if value < 10 else 1}f} s"


def tick_text(value: float) -> str:
    """Seconds at an axis, as short as they are exact."""
    return f"{value:g} s" if value >= 1 or value == 0 else f"{1e3 * value:g} ms"


def render_html(report: Report) -> str:
    """Of results of `bench serve`."""
    results = report.results
    best = knee(results)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters |= {"seconds": seconds_text, "number": "{:,.0f}".format, "share": "{:.0%}".format}
    template = environment.from_string(TEMPLATE.read_text())
    shown = best if best is not None else max(range(len(results)), key=lambda i: _rate(results[i]))
    return template.render(
        report=report,
        results=results,
        shown=results[shown],
        is_knee=best is not None,
        peak=max(results, key=_rate),
        capacity=_capacity(results),
        good_share=GOOD_SHARE,
        targets={name: report.workload.get(f"target_{name}") for name in ("ttft", "tpot", "e2e")},
        num_failed=sum(_serving(result).num_failed for result in results),
        num_requests=sum(result.num_requests for result in results),
        charts=list(_charts(results, best)),
        voids=[_serving(result) for result in results if _serving(result).void],
    )


def _rate(result: Result) -> float:
    return result.output_tokens_per_second


def _serving(result: Result) -> Serving:
    assert result.serving is not None, "a report of the engine alone has no clients"
    return result.serving


def _capacity(results: Sequence[Result]) -> str | None:
    last = capacity(results)
    return None if last is None else _serving(results[last]).load


def _charts(results: Sequence[Result], best: int | None) -> list[Chart]:
    loads = [_serving(result).load for result in results]
    charts = []
    if len(results) >= MIN_LOADS_TO_DRAW:
        mark = None if best is None else (float(best), "knee")
        charts = [
            _throughput_chart(results, loads, mark),
            _latency_chart("Time to first token", results, loads, mark, lambda result: result.ttft_seconds),
            _latency_chart("Between tokens", results, loads, mark, lambda result: result.itl_seconds),
        ]
        if all(_serving(result).good_share is not None for result in results):
            charts.append(_good_chart(results, loads, mark))
        else:
            charts.append(
                _latency_chart("Whole answer", results, loads, mark, lambda result: result.e2e_seconds)
            )
    charts += [
        _distribution_chart("Time to first token", results, lambda serving: serving.ttft_quantiles),
        _distribution_chart("Whole answer", results, lambda serving: serving.e2e_quantiles),
    ]
    return charts


def _throughput_chart(
    results: Sequence[Result], loads: Sequence[str], mark: tuple[float, str] | None
) -> Chart:
    rates = [_rate(result) for result in results]
    points = [
        (float(i), rate, f"{rate:,.0f} at {load}")
        for i, (rate, load) in enumerate(zip(rates, loads, strict=True))
    ]
    svg = line_chart(
        name_axis(loads),
        linear_axis(rates, "{:,.0f}".format),
        [Series("tokens/s", points)],
        description="Output tokens per second by load",
        mark=mark,
    )
    return Chart("Throughput", "output tokens per second; more is better", [], svg)


def _latency_chart(
    title: str,
    results: Sequence[Result],
    loads: Sequence[str],
    mark: tuple[float, str] | None,
    of: Callable[[Result], Percentiles],
) -> Chart:
    series = [
        Series(
            name,
            [
                (float(i), value, f"{seconds_text(value)} at {loads[i]}")
                for i, value in enumerate(getattr(of(result), name) for result in results)
            ],
        )
        for name in ("p50", "p99")
    ]
    axis = _seconds_axis([value for line in series for _, value, _ in line.points])
    svg = line_chart(name_axis(loads), axis, series, description=f"{title} by load", mark=mark)
    return Chart(title, "less is better", ["p50", "p99"], svg)


def _good_chart(results: Sequence[Result], loads: Sequence[str], mark: tuple[float, str] | None) -> Chart:
    shares = [_serving(result).good_share or 0.0 for result in results]
    points = [(float(i), share, f"{share:.1%} at {loads[i]}") for i, share in enumerate(shares)]
    ticks = [(tick / 4, f"{tick / 4:.0%}") for tick in range(5)]
    svg = line_chart(
        name_axis(loads),
        Axis(0.0, 1.0, ticks),
        [Series("within the targets", points)],
        description="Share of requests within the targets by load",
        mark=mark,
    )
    return Chart("Within the targets", "share of all requests; more is better", [], svg)


def _distribution_chart(
    title: str, results: Sequence[Result], of: Callable[[Serving], Sequence[float]]
) -> Chart:
    series = []
    for result in results:
        quantiles = of(_serving(result))
        points = [
            (value, i / (len(quantiles) - 1), f"{i / (len(quantiles) - 1):.0%} within {seconds_text(value)}")
            for i, value in enumerate(quantiles)
        ]
        series.append(Series(_serving(result).load, points, has_dots=False))
    values = [value for line in series for value, _, _ in line.points]
    ticks = [(tick / 4, f"{tick / 4:.0%}") for tick in range(5)]
    svg = line_chart(
        _seconds_axis(values), Axis(0.0, 1.0, ticks), series, description=f"Distribution: {title}"
    )
    return Chart(f"{title}, spread", "share of requests within", [line.name for line in series], svg)


def _seconds_axis(values: Sequence[float]) -> Axis:
    positive = [value for value in values if value > 0]
    is_wide = bool(positive) and max(positive) > LOG_RATIO * min(positive)
    return log_axis(values, tick_text) if is_wide else linear_axis(values, tick_text)
