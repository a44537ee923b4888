"""Compares routing policies on simulated fleets: hit rate, time to first token, throughput.

.venv/bin/python -m tools.fleet_simulation --replicas 4 16 --seeds 1 2 3 4 5

Figures are means over the seeds, with their standard error. Every policy gets the same requests, so `cost` is
compared seed by seed with whoever is best, and with round robin: a difference below its error is none.
"""

import argparse
import functools
import itertools
import json
import multiprocessing
import pathlib
import random
import statistics
from collections.abc import Mapping, Sequence

from octavo.config import ROUTING_POLICIES
from tools.fleet_simulation import tables
from tools.fleet_simulation.baselines import BASELINES
from tools.fleet_simulation.fleet import Figures, Simulation
from tools.fleet_simulation.tables import BASIS, OURS, PERCENTILES, Compared
from tools.fleet_simulation.workloads import WORKLOADS, Workload

Job = tuple[str, str, int, int, int, bool]  # workload, policy, replicas, requests, seed, events


def main() -> None:
    options = _parser().parse_args()
    by_size: dict[int, dict[str, Compared]] = {}
    with multiprocessing.Pool(options.processes) as pool:
        for num_replicas, workload in itertools.product(options.replicas, options.workloads):
            print(f"\n{workload}, {num_replicas} replicas")
            print(f"{'policy':24} {'hits':>6} {'TTFT p50':>15} {'p99':>15} {'tok/s':>8}")
            jobs: list[Job] = [
                (workload, policy, num_replicas, options.requests, seed, not options.no_events)
                for policy, seed in itertools.product(options.policies, options.seeds)
            ]
            results = iter(pool.imap(functools.partial(kept, options.keep), jobs))
            figures: dict[str, list[Figures]] = {}
            for policy in options.policies:
                figures[policy] = [next(results) for _ in options.seeds]
                show(policy, figures[policy])
            compare(figures)
            by_size.setdefault(num_replicas, {})[workload] = figures
    if options.markdown:
        show_tables(by_size)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.fleet_simulation", description=__doc__)
    parser.add_argument("--replicas", type=int, nargs="+", default=[4])
    parser.add_argument("--requests", type=int, default=200, help="of each replica")
    parser.add_argument("--workloads", nargs="+", default=[workload.name for workload in WORKLOADS])
    parser.add_argument("--policies", nargs="+", default=[*ROUTING_POLICIES, *BASELINES])
    parser.add_argument(
        "--no-events", action="store_true", help="replicas do not tell what their caches hold"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--markdown", action="store_true", help="all of it as tables, too")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for results: what it has is not run again")
    return parser


def kept(folder: pathlib.Path | None, job: Job) -> Figures:
    """What an earlier run has left in the folder, or run(job), left there."""
    if folder is None:
        return run(job)
    file = folder / f"{', '.join(map(str, job))}.json"
    if file.exists():
        return Figures(**json.loads(file.read_text()))
    figures = run(job)
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({name: getattr(figures, name) for name in Figures.__slots__}))
    return figures


def run(job: Job) -> Figures:
    """Every policy gets the same requests and the same noise."""
    name, policy, num_replicas, num_requests, seed, has_events = job
    workload: Workload = next(one for one in WORKLOADS if one.name == name)
    arrivals = workload.arrivals(
        random.Random(seed), num_replicas, workload.requests_per_second * num_replicas
    )
    simulation = Simulation(
        policy, num_replicas, slowness=workload.slowness, seed=seed, has_events=has_events
    )
    return simulation.run(itertools.islice(arrivals, num_requests * num_replicas // workload.num_turns))


def show(policy: str, figures: Sequence[Figures]) -> None:
    hits = statistics.mean(one.hit_rate for one in figures)
    p50, p99 = (tables.with_error([of(one) for one in figures]) for of in PERCENTILES.values())
    speed = statistics.mean(one.tokens_per_second for one in figures)
    print(f"{policy:24} {hits:6.1%} {p50:>15} {p99:>15} {speed:8.0f}", flush=True)


def compare(figures: Compared) -> None:
    """`cost` with the best of the others and with round robin, by median and tail."""
    if OURS not in figures or len(figures) == 1:
        return
    for name, of in PERCENTILES.items():
        ours = [of(one) for one in figures[OURS]]
        best = tables.best_of_others(figures, of)
        for policy in dict.fromkeys((best, BASIS) if BASIS in figures else (best,)):
            beside = tables.paired(ours, [of(one) for one in figures[policy]])
            print(f"{OURS} {name} {beside} beside {policy}{' (best)' * (policy == best)}")


def show_tables(by_size: Mapping[int, Mapping[str, Compared]]) -> None:
    for num_replicas, by_workload in by_size.items():
        for table in (tables.first_tokens, tables.hits_and_speed):
            print(f"\n{num_replicas} replicas\n", *table(by_workload), sep="\n")
    print("", *tables.beside_others(by_size), sep="\n")


if __name__ == "__main__":
    main()
