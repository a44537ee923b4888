"""`make soak`: 20,000 requests, with a line of progress, and a report. Exit code 1 if anything is wrong.

tiny-llama and so on are random models of a few layers: the machinery and not the model is under load.
"""

import argparse
import asyncio
import pathlib
import sys
import tempfile

from octavo.config import Environment
from octavo.models.source import resolve
from tests.e2e.matrix.models import TINY_FAMILIES
from tests.soak.asked import never_asked
from tests.soak.report import Check
from tests.soak.run import Plan, Soak, facts_of
from tests.soak.server import SoakServer
from tests.soak.tiny import write_able

TINY = {f"tiny-{family}": family for family in TINY_FAMILIES}
KV_CACHE, TINY_KV_CACHE = "72MiB", "400KiB"  # so small that requests preempt one another


def main() -> int:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="octavo-soak-") as folder:
        return soak(arguments, pathlib.Path(folder))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description="Random requests, kills, and witnesses.")
    parser.add_argument("--requests", type=int, default=20_000, metavar="N")
    models = f"as for octavo serve, or one of {', '.join(TINY)}"
    parser.add_argument("--model", default="default", help=models)
    parser.add_argument("--kill-every", type=int, default=500, metavar="N", help="requests between two kills")
    parser.add_argument("--concurrency", type=int, default=24, metavar="N", help="requests at the same time")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def soak(arguments: argparse.Namespace, folder: pathlib.Path) -> int:
    if arguments.model in TINY:
        path = write_able(TINY[arguments.model], folder / arguments.model)
        server = SoakServer(folder, str(path), TINY_KV_CACHE)
    else:
        path = resolve(arguments.model, Environment.read().home)
        server = SoakServer(folder, str(path), KV_CACHE)
    plan = Plan(arguments.requests, arguments.kill_every, arguments.concurrency, arguments.seed)
    run = Soak(plan, server, facts_of(path), print_progress)
    try:
        checks = asyncio.run(run.run())
    finally:
        exit_code = server.stop()
    checks.append(Check("end", exit_code == 0, f"exit code {exit_code} after SIGTERM"))
    return print_report(run, checks)


def print_progress(line: str) -> None:
    is_terminal = sys.stderr.isatty()
    print(
        f"\r\x1b[K{line}" if is_terminal else line,
        end="" if is_terminal else "\n",
        file=sys.stderr,
        flush=True,
    )


def print_report(run: Soak, checks: list[Check]) -> int:
    seen = run.seen
    if sys.stderr.isatty():
        print(file=sys.stderr)
    fates = ", ".join(f"{count:,} {fate}" for fate, count in sorted(seen.by_fate.items()))
    print(f"{seen.num_asked:,} requests in {seen.seconds:.0f} s: {fates}")
    print(f"  engine: {run.work_done()}")
    if never_asked():
        print(f"  parameters that were never asked for: {', '.join(never_asked())}")
    for check in checks:
        print(check)
    is_well = all(check.is_well for check in checks)
    print("passed" if is_well else "FAILED")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
