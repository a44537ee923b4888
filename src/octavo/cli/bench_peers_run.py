"""What `octavo bench peers` does: installs and starts engines, measures cell after cell, prints tables."""

import contextlib
import datetime
import signal
import socket
import sys
from collections.abc import Iterator
from types import FrameType

import uvloop
from rich.console import Console

from octavo import __version__
from octavo.bench.machine import describe_machine, processor_name
from octavo.bench.peers.catalog import PEERS, peers_named
from octavo.bench.peers.cells import CellFile, Settings
from octavo.bench.peers.comparison import Comparison, Runner
from octavo.bench.peers.table import comparison_lines
from octavo.bench.progress import LiveProgress
from octavo.bench.result import Report, write_report
from octavo.cli.bench_peers import PeersOptions
from octavo.cli.tables import columns
from octavo.config import Environment
from octavo.engine.resources import available_cores
from octavo.models.source import resolve, served_name

SEED = 1
END_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
CELLS, TABLES, RESULTS = "cells.jsonl", "tables.md", "results.json"


def run_peers(options: PeersOptions) -> int:
    """Returns the exit code. Raises OctavoError for what is the user's to change."""
    if options.list:
        print("\n".join(columns([(peer.name, peer.facts) for peer in PEERS])))
        return 0
    environment = Environment.read()
    comparison = Comparison(
        peers=peers_named(options.names),
        gguf=resolve(options.model, environment.home),
        checkpoint=options.checkpoint and options.checkpoint.resolve(),
        concurrencies=options.concurrencies,
        input_tokens=options.input_tokens,
        output_tokens=options.output_tokens,
        num_runs=options.runs,
        threads=options.threads or available_cores(),
        seed=SEED,
    )
    comparison.check()
    name = served_name(options.model)
    settings = Settings(
        name, options.input_tokens, options.output_tokens, comparison.threads, processor_name()
    )
    file = CellFile(options.out / CELLS, settings)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_ended_by_signals())
        progress = stack.enter_context(LiveProgress(Console(stderr=True)))
        runner = Runner(
            comparison,
            options.out,
            environment.home / "peers",
            run=uvloop.run,
            free_port=_free_port,
            say=lambda line: print(line, file=sys.stderr, flush=True),
            progress=progress,
        )
        runner.measure(file)
    _tell(options, comparison, file, name)
    return 0


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Signals that would kill this process unwind it, as Ctrl-C does: servers that were stopped in place
    would hold their memory until somebody finds them."""
    before = {number: signal.signal(number, _exit) for number in END_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # as shells report it


def _tell(options: PeersOptions, comparison: Comparison, file: CellFile, name: str) -> None:
    results = file.results([peer.name for peer in comparison.peers], comparison.concurrencies)
    now = datetime.datetime.now().astimezone()
    head = (
        f"{name}, {options.input_tokens} tokens in, {options.output_tokens} out, {options.runs} runs;"
        f" {comparison.threads} threads of {processor_name()}; {now:%Y-%m-%d}"
    )
    text = "\n".join((head, "", *comparison_lines(results, comparison.peers, file.num_failed())))
    print(text)
    (options.out / TABLES).write_text(text + "\n")
    report = Report(
        octavo_version=__version__,
        date=now.isoformat(timespec="seconds"),
        machine=describe_machine() | {"threads": comparison.threads},
        workload={
            "kind": "random",
            "model": name,
            "input_tokens": options.input_tokens,
            "output_tokens": options.output_tokens,
            "runs": options.runs,
            "seed": SEED,
        },
        results=results,
    )
    write_report(report, options.out / RESULTS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
