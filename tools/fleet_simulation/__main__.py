"""Compares routing policies on simulated fleets: hit rate, time to first token, throughput.

.venv/bin/python -m tools.fleet_simulation --replicas 4 16 --seeds 1 2 3 4 5

Figures are means over the seeds, with their standard error. Every policy gets the same requests, so `cost` is
compared seed by seed with whoever is best, and with round robin: a difference below its error is none.
"""

import argparse
import itertools
import math
import multiprocessing
import random
import statistics
from collections.abc import Mapping, Sequence

from octavo.config import ROUTING_POLICIES
from tools.fleet_simulation.baselines import BASELINES
from tools.fleet_simulation.fleet import Figures, Simulation
from tools.fleet_simulation.workloads import WORKLOADS, Workload

OURS, BASIS = "cost", "round-robin"

Job = tuple[str, str, int, int, int, bool]  # workload, policy, replicas, requests, seed, events


def main() -> None:
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
    options = parser.parse_args()
    with multiprocessing.Pool(options.processes) as pool:
        for num_replicas, workload in itertools.product(options.replicas, options.workloads):
            print(f"\n{workload}, {num_replicas} replicas")
            print(f"{'policy':24} {'hits':>6} {'TTFT p50':>15} {'p99':>15} {'tok/s':>8}")
            jobs: list[Job] = [
                (workload, policy, num_replicas, options.requests, seed, not options.no_events)
                for policy, seed in itertools.product(options.policies, options.seeds)
            ]
            results, figures = iter(pool.imap(run, jobs)), {}
            for policy in options.policies:
                figures[policy] = [next(results) for _ in options.seeds]
                show(policy, figures[policy])
            compare(figures)


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
    p50, p99 = with_error([one.p50 for one in figures]), with_error([one.p99 for one in figures])
    speed = statistics.mean(one.tokens_per_second for one in figures)
    print(f"{policy:24} {hits:6.1%} {p50:>15} {p99:>15} {speed:8.0f}", flush=True)


def compare(figures: Mapping[str, Sequence[Figures]]) -> None:
    """`cost` with the best of the others and with round robin, by median and tail."""
    if OURS not in figures or len(figures) == 1:
        return
    for name, value in (("p50", lambda one: one.p50), ("p99", lambda one: one.p99)):
        values = {policy: [value(one) for one in each] for policy, each in figures.items()}
        ours = values.pop(OURS)
        best = min(values, key=lambda policy: statistics.mean(values[policy]))
        for policy in dict.fromkeys((best, BASIS) if BASIS in values else (best,)):
            print(
                f"{OURS} {name} {paired(ours, values[policy])} beside {policy}{' (best)' * (policy == best)}"
            )


def paired(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """How much more ours is: the mean over the pairs and, of several, its standard error."""
    ratios = [math.log(one / other) for one, other in zip(ours, theirs, strict=True)]
    mean = f"{math.expm1(statistics.mean(ratios)):+.1%}"
    if len(ratios) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(ratios) / math.sqrt(len(ratios)):.1%}"


def with_error(values: Sequence[float]) -> str:
    """The mean and its standard error, in seconds."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ± {error:.3f}"


if __name__ == "__main__":
    main()
