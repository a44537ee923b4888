"""What `octavo bench serve` does: asks the server as the options say, prints and writes what was found."""

import contextlib
import datetime
import gc
import time
from collections.abc import Iterator, Sequence

import uvloop
from rich.console import Console

from octavo import __version__
from octavo.bench.answer import Record
from octavo.bench.client import BaseUrl, Client
from octavo.bench.knee import GOOD_SHARE, capacity, knee
from octavo.bench.load import Arrivals, FixedConcurrency, Replay
from octavo.bench.machine import describe_machine
from octavo.bench.progress import LiveProgress
from octavo.bench.report import render_html
from octavo.bench.result import Report, Result, write_report
from octavo.bench.sender import Sender, first_model
from octavo.bench.summary import Targets, summarize
from octavo.bench.sweep import Step, Sweep, enough_requests
from octavo.bench.workload import (
    Length,
    MultiTurnWorkload,
    RandomWorkload,
    SharedPrefixWorkload,
    TraceWorkload,
    Workload,
)
from octavo.cli.bench_serve import ServeBenchOptions
from octavo.cli.tables import columns, three_digits
from octavo.config import Environment
from octavo.core.counted import counted
from octavo.core.errors import OctavoError, StartError

EXIT_FAILURES = 1  # requests failed
SEED_RANGE = 1_000_000
HEAD = (
    ("", "", "OUTPUT", "TTFT ms", "", "ITL ms", "", "E2E s", "", ""),
    ("LOAD", "REQ/S", "TOK/S", "P50", "P99", "P50", "P99", "P50", "FAILED", "GOOD"),
)


def run_serve(options: ServeBenchOptions) -> int:
    """Returns the exit code. Raises OctavoError for what is the user's to change."""
    seed = options.load.seed if options.load.seed is not None else time.time_ns() % SEED_RANGE
    workload = _workload(options, seed)  # a trace is read, and complained about, before anything is sent
    gc.collect()
    gc.freeze()
    report = uvloop.run(_measure(options, workload, seed))
    print("\n".join(told(report)))
    if options.report.json is not None:
        write_report(report, options.report.json)
    if options.report.html is not None:
        options.report.html.write_text(render_html(report))
    is_clean = all(result.serving and not result.serving.num_failed for result in report.results)
    return 0 if is_clean else EXIT_FAILURES


async def _measure(options: ServeBenchOptions, workload: Workload, seed: int) -> Report:
    clock = time.perf_counter
    api_key = options.server.api_key or Environment.read().api_key
    client = Client(BaseUrl(options.server.base_url), api_key, clock)
    targets = Targets(options.report.target_ttft, options.report.target_tpot, options.report.target_e2e)
    with contextlib.closing(client):
        model = options.server.model or await first_model(client, options.server.base_url)
        sender = Sender(
            client, model, options.server.api, options.workload.ignore_eos, options.load.timeout, clock
        )
        results = await _sweep(options, workload, seed, sender, targets)
    return Report(
        octavo_version=__version__,
        date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        machine=describe_machine(),
        workload=workload.describe()
        | {"model": model, "api": options.server.api, "ignore_eos": options.workload.ignore_eos}
        | {f"target_{name}": getattr(targets, name) for name in ("ttft", "tpot", "e2e")},
        results=results,
    )


async def _sweep(
    options: ServeBenchOptions, workload: Workload, seed: int, sender: Sender, targets: Targets
) -> list[Result]:
    steps = list(_steps(options, workload, seed))
    label = options.server.label or options.server.base_url
    with LiveProgress(Console(stderr=True), sender.clock) as progress:
        sweep = Sweep(label, sender.send, lambda seed: _workload(options, seed), seed, sender.clock, progress)
        _check_warm_up(await sweep.warm_up(), options)
        return [summarize(await sweep.run(number, step), targets) for number, step in enumerate(steps)]


def _check_warm_up(record: Record, options: ServeBenchOptions) -> None:
    if record.failure is not None:
        hint = ""
        if record.failure == "HTTP 400":
            hint = " A server that does not know ignore_eos needs --no-ignore-eos; one without prompts of"
            hint += " token ids needs --api chat."
        raise OctavoError(f"The first request to {options.server.base_url} failed: {record.failure}.{hint}")


def _steps(options: ServeBenchOptions, workload: Workload, seed: int) -> Iterator[Step]:
    asked = options.load.num_requests
    is_trace = isinstance(workload, TraceWorkload)

    def count(load: float) -> int | None:
        return asked if asked is not None or is_trace else enough_requests(load)

    if options.rates:
        for rate in options.rates:
            load = Arrivals(rate, options.load.arrivals == "poisson", seed)
            yield Step(f"{rate:g} requests/s", load, rate, count(rate))
    elif isinstance(workload, TraceWorkload) and options.load.concurrency is None:
        if not workload.has_times:
            raise StartError(
                "A line of the trace has no timestamp; --concurrency or --rate says when to ask."
            )
        yield Step("as traced", Replay(), None, asked)
    else:
        for users in options.concurrencies:
            name = counted(users, "user")
            yield Step(name, FixedConcurrency(users), None, count(users))


def _workload(options: ServeBenchOptions, seed: int) -> Workload:
    chosen = options.workload
    is_chat = options.server.api == "chat"
    kind = "chat" if is_chat else "tokens"
    input_tokens = Length.parse("--input-tokens", chosen.input_tokens)
    output_tokens = Length.parse("--output-tokens", chosen.output_tokens)
    if chosen.trace is not None:
        return TraceWorkload.read(chosen.trace, kind, speed=chosen.speed, seed=seed)
    if chosen.workload == "multi-turn":
        return MultiTurnWorkload(is_chat, chosen.turns, input_tokens, output_tokens, seed)
    if chosen.workload == "shared-prefix":
        return SharedPrefixWorkload(
            kind, chosen.num_prefixes, chosen.prefix_tokens, input_tokens, output_tokens, seed
        )
    return RandomWorkload(kind, input_tokens, output_tokens, seed)


def told(report: Report) -> Iterator[str]:
    """As lines of at most 80 characters, names of servers and models aside."""
    results = report.results
    yield f"{results[0].engine}: {report.workload['model']}, {report.workload['kind']} workload"
    has_targets = any(result.serving and result.serving.good_share is not None for result in results)
    rows = [*HEAD, *(_row(result) for result in results)]
    if not has_targets:
        rows = [row[:-1] for row in rows]
    yield from columns(rows, right=range(1, len(rows[0])))
    yield from _conclusions(results)


def _row(result: Result) -> tuple[str, ...]:
    serving = result.serving
    assert serving is not None
    load = serving.load if serving.request_rate is None else f"{serving.request_rate:g}/s"
    ttft, itl, e2e = result.ttft_seconds, result.itl_seconds, result.e2e_seconds
    times = (*(1e3 * seconds for seconds in (ttft.p50, ttft.p99, itl.p50, itl.p99)), e2e.p50)
    figures = (serving.requests_per_second, result.output_tokens_per_second, *times)
    failed = f"{serving.num_failed:,}" if serving.num_failed else "none"
    good = "" if serving.good_share is None else f"{serving.good_share:.0%}"
    return (load, *map(three_digits, figures), failed, good)


def _conclusions(results: Sequence[Result]) -> Iterator[str]:
    best = knee(results)
    if best is not None:
        serving = results[best].serving
        assert serving is not None
        yield (
            f"knee: {serving.load}, {results[best].output_tokens_per_second:,.0f} output tokens/s;"
            " beyond it latency outgrows throughput"
        )
    if results[0].serving is not None and results[0].serving.good_share is not None:
        last = capacity(results)
        name = "none of these loads" if last is None else getattr(results[last].serving, "load", "")
        yield f"the most load with {GOOD_SHARE:.0%} of the requests within the targets: {name}"
    for result in results:
        serving = result.serving
        assert serving is not None
        for reason, count in serving.failures.items():
            yield f"{serving.load}: {count} of {result.num_requests} failed: {reason}"
        if serving.void is not None:
            yield f"{serving.load}: void, {serving.void}"
    counted = sorted({result.serving.tokens_counted_by for result in results if result.serving})
    yield f"tokens counted by: {', '.join(counted)}"
