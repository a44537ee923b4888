"""A comparison as tables in Markdown, which read as plain text too."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from octavo.bench.peers.peer import Peer
from octavo.bench.percentiles import Percentiles
from octavo.bench.report import seconds_text
from octavo.bench.result import Result

OURS = "octavo"  # and what begins so
MIB = 1 << 20


def comparison_lines(
    results: Sequence[Result], peers: Sequence[Peer], num_failed: Mapping[tuple[str, int], int]
) -> Iterator[str]:
    """results: one for each engine and load; num_failed: requests that failed there, if any did."""
    facts = {peer.name: peer.facts for peer in peers}
    engines = list(dict.fromkeys(result.engine for result in results))
    loads = sorted({result.concurrency for result in results})
    found = {(result.engine, result.concurrency): result for result in results}
    yield "Output tokens per second, median of the runs (their range):"
    yield ""
    yield from _table(engines, loads, lambda *key: _rate(found.get(key), num_failed.get(key, 0)))
    ratios = {load: _ratio(found, engines, load) for load in loads}
    if any(ratios.values()):
        yield f"| {OURS} / best other | " + " | ".join(ratios[load] or "" for load in loads) + " |"
    yield from ("", "Time to first token, p50 / p99:", "")
    yield from _table(engines, loads, lambda *key: _pair(found[key].ttft_seconds) if key in found else "")
    yield from ("", "Between tokens, p50 / p99:", "")
    yield from _table(engines, loads, lambda *key: _pair(found[key].itl_seconds) if key in found else "")
    yield from ("", "| engine | start to first token | most memory | |", "|---|---|---|---|")
    for engine in engines:
        yield _engine_line(engine, [result for result in results if result.engine == engine], facts)


def _table(engines: Sequence[str], loads: Sequence[int], text: Callable[[str, int], str]) -> Iterator[str]:
    yield "| at once | " + " | ".join(map(str, loads)) + " |"
    yield "|---|" + "---|" * len(loads)
    for engine in engines:
        yield f"| {engine} | " + " | ".join(text(engine, load) for load in loads) + " |"


def _rate(result: Result | None, num_failed: int) -> str:
    if result is None:
        return ""
    spread = f" ({min(result.runs):,.0f}-{max(result.runs):,.0f})" if len(result.runs) > 1 else ""
    failed = f", {num_failed} of {result.num_requests} requests failed" if num_failed else ""
    return f"{result.output_tokens_per_second:,.0f}{spread}{failed}"


def _ratio(found: dict[tuple[str, int], Result], engines: Sequence[str], load: int) -> str | None:
    """Of our best median to the best of any other engine at the load."""
    rates = {name: found[name, load].output_tokens_per_second for name in engines if (name, load) in found}
    ours = max((rate for name, rate in rates.items() if name.startswith(OURS)), default=0.0)
    others = max((rate for name, rate in rates.items() if not name.startswith(OURS)), default=0.0)
    return f"{ours / others:.2f} x" if ours and others else None


def _pair(percentiles: Percentiles) -> str:
    return f"{seconds_text(percentiles.p50)} / {seconds_text(percentiles.p99)}"


def _engine_line(engine: str, results: Sequence[Result], facts: dict[str, str]) -> str:
    starts = [result.start_seconds for result in results if result.start_seconds is not None]
    peaks = [result.peak_memory_bytes for result in results if result.peak_memory_bytes is not None]
    start = seconds_text(min(starts)) if starts else ""
    peak = f"{max(peaks) / MIB:,.0f} MiB" if peaks else ""
    return f"| {engine} | {start} | {peak} | {facts.get(engine, '')} |"
