"""What `octavo bench offline` does: loads an engine, runs the bursts in turns, prints and writes what was
found."""

import dataclasses
import datetime
import gc
import resource
import time
from collections.abc import Iterator, Sequence

from rich.console import Console

from octavo import __version__
from octavo.bench.machine import describe_machine, processor_name
from octavo.bench.offline import Burst, BurstSize, OfflineBench, Step, summarize
from octavo.bench.percentiles import Percentiles
from octavo.bench.result import Report, Result, write_report
from octavo.bench.step_profile import Row, Traffic, profile_rows, read_bytes_per_second
from octavo.cli.bench_offline import OfflineOptions
from octavo.cli.run import LoadOptions
from octavo.cli.tables import columns, size, three_digits
from octavo.config import EngineConfig, Environment
from octavo.core.counted import counted
from octavo.core.errors import StartError
from octavo.core.messages import Ready
from octavo.engine.loader import LoadedEngine, load_engine
from octavo.models.source import resolve, served_name

GB = 1e9
HEAD = (
    ("", "OUTPUT", "ALL", "TOTAL", "TTFT ms", "", "ITL ms", ""),
    ("AT ONCE", "TOK/S", "RUNS", "TOK/S", "P50", "P99", "P50", "P99"),
)


def run_offline(model: str, options: OfflineOptions, load: LoadOptions) -> int:
    """Returns the exit code. Raises OctavoError for what is the user's to change."""
    environment = Environment.read()
    name = served_name(model)
    usual = EngineConfig()
    config = dataclasses.replace(
        usual,
        model=str(resolve(model, environment.home)),
        max_num_seqs=max(usual.max_num_seqs, *options.concurrencies),
        max_num_batched_tokens=max(usual.max_num_batched_tokens, *options.concurrencies),
        num_speculative_tokens=options.num_speculative_tokens,
        **dataclasses.asdict(load),
    )
    began = time.perf_counter()
    loaded = load_engine(config, environment)
    start_seconds = time.perf_counter() - began
    _check_sizes(options, loaded.ready)
    gc.collect()
    gc.freeze()  # as an engine process does
    bench = OfflineBench(loaded.core, loaded.ready.vocab_size, seed=options.seed)
    sizes = [BurstSize(count, options.input_tokens, options.output_tokens) for count in options.concurrencies]
    bursts = _run_in_turns(bench, sizes, options.runs)
    loaded.core.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    results = [
        summarize(size, bursts[size], start_seconds=start_seconds, peak_memory_bytes=peak) for size in sizes
    ]
    steps = [step for size in sizes for burst in bursts[size] for step in burst.steps]
    print("\n".join(_lines(name, loaded.ready, options, results, steps)))
    if options.profile:
        print("\n".join(_profile_lines(sizes, bursts, loaded)))
    if options.json is not None:
        write_report(_report(name, loaded.ready, options, results), options.json)
    return 0


def _check_sizes(options: OfflineOptions, ready: Ready) -> None:
    longest = options.input_tokens + options.output_tokens
    if longest > ready.max_model_len:
        raise StartError(
            f"--input-tokens and --output-tokens are {longest} together; allowed: up to"
            f" {ready.max_model_len} (--max-model-len)."
        )
    if longest > ready.kv_tokens:
        raise StartError(
            f"A request of {longest} tokens does not fit into the KV cache, which holds {ready.kv_tokens};"
            " --kv-cache-memory makes it larger."
        )


def _run_in_turns(
    bench: OfflineBench, sizes: Sequence[BurstSize], num_runs: int
) -> dict[BurstSize, list[Burst]]:
    """One burst of each size after the other, num_runs times, so that a slow minute hits all alike."""
    bursts: dict[BurstSize, list[Burst]] = {size: [] for size in sizes}
    bench.run(dataclasses.replace(sizes[0], concurrency=1, output_tokens=min(16, sizes[0].output_tokens)))
    with Console(stderr=True).status("measuring ...") as status:
        for turn in range(num_runs):
            for burst in bursts:
                status.update(f"run {turn + 1} of {num_runs}, {burst.concurrency} at once ...")
                bursts[burst].append(bench.run(burst))
    return bursts


def _lines(
    name: str, ready: Ready, options: OfflineOptions, results: Sequence[Result], steps: Sequence[Step]
) -> Iterator[str]:
    yield f"{name}: {counted(ready.threads, 'thread')}, {ready.isa}, {processor_name()}"
    yield (
        f"KV cache {ready.kv_dtype}, activations {ready.activation_dtype}; {options.input_tokens} tokens in,"
        f" {options.output_tokens} out, {counted(options.runs, 'run')}"
    )
    resident = size(results[0].peak_memory_bytes or 0)
    yield f"start {results[0].start_seconds:.2f} s, at most {resident} resident"
    rows = [*HEAD, *(_row(result) for result in results)]
    yield from columns(rows, right=range(len(rows[0])))
    error = Percentiles.of(step.relative_error for step in steps).mean
    yield f"step-time model: mean error {error:.1%} over {len(steps):,} steps"


def _row(result: Result) -> tuple[str, ...]:
    ttft, itl = result.ttft_seconds, result.itl_seconds
    times = [three_digits(1e3 * seconds) for seconds in (ttft.p50, ttft.p99, itl.p50, itl.p99)]
    rates = f"{min(result.runs):,.0f}-{max(result.runs):,.0f}"
    output, total = result.output_tokens_per_second, result.total_tokens_per_second
    return (str(result.concurrency), f"{output:,.0f}", rates, f"{total:,.0f}", *times)


def _profile_lines(
    sizes: Sequence[BurstSize], bursts: dict[BurstSize, list[Burst]], loaded: LoadedEngine
) -> Iterator[str]:
    threads = loaded.ready.threads
    bandwidth = read_bytes_per_second(threads)
    traffic = Traffic(loaded.ready.memory["weight_bytes"], loaded.kv_bytes_per_token, bandwidth)
    yield f"\n{threads} threads read {bandwidth / GB:.1f} GB/s from memory: the floor of what must be read"
    for burst_size in sizes:
        steps = [
            step
            for burst in bursts[burst_size]
            for step in burst.steps
            if step.is_decode and step.report.num_requests == burst_size.concurrency
        ]
        if steps:
            yield f"\n{burst_size.concurrency} at once: {len(steps):,} steps that only decode"
            yield from _profile_table(profile_rows(steps, traffic))


def _profile_table(rows: Sequence[Row]) -> list[str]:
    whole = rows[-1].seconds
    cells = [
        (
            row.name,
            f"{1e3 * row.seconds:.2f}",
            f"{row.seconds / whole:.0%}",
            f"{1e3 * row.floor_seconds:.2f}" if row.floor_seconds else "",
        )
        for row in rows
    ]
    return columns([("", "MS", "SHARE", "FLOOR MS"), *cells], right=(1, 2, 3))


def _report(name: str, ready: Ready, options: OfflineOptions, results: list[Result]) -> Report:
    return Report(
        octavo_version=__version__,
        date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        machine=describe_machine() | {"threads": ready.threads, "isa": ready.isa},
        workload={
            "kind": "random",
            "model": name,
            "kv_dtype": ready.kv_dtype,
            "activation_dtype": ready.activation_dtype,
            "input_tokens": options.input_tokens,
            "output_tokens": options.output_tokens,
            "runs": options.runs,
            "seed": options.seed,
        },
        results=results,
    )
