"""Compares routing policies on simulated fleets: hit rate, time to first token, throughput.

.venv/bin/python -m tools.fleet_simulation --replicas 4 16
"""

import argparse
import itertools
import random

from octavo.config import ROUTING_POLICIES
from tools.fleet_simulation.baselines import BASELINES
from tools.fleet_simulation.fleet import Figures, Simulation
from tools.fleet_simulation.workloads import WORKLOADS, Workload


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.fleet_simulation", description=__doc__)
    parser.add_argument("--replicas", type=int, nargs="+", default=[4])
    parser.add_argument("--requests", type=int, default=200, help="of each replica")
    parser.add_argument("--workloads", nargs="+", default=[workload.name for workload in WORKLOADS])
    parser.add_argument("--policies", nargs="+", default=[*ROUTING_POLICIES, *BASELINES])
    parser.add_argument(
        "--no-events", action="store_true", help="replicas do not tell what their caches hold"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for num_replicas in options.replicas:
        for workload in WORKLOADS:
            if workload.name in options.workloads:
                compare(workload, num_replicas, options)


def compare(workload: Workload, num_replicas: int, options: argparse.Namespace) -> None:
    print(f"\n{workload.name}, {num_replicas} replicas")
    print(f"{'policy':24} {'hits':>6} {'TTFT p50':>9} {'p99':>9} {'tok/s':>8}")
    for name in options.policies:
        figures = run(workload, name, num_replicas, options)
        print(
            f"{name:24} {figures.hit_rate:6.1%} {figures.p50:8.3f}s {figures.p99:8.3f}s"
            f" {figures.tokens_per_second:8.0f}",
            flush=True,
        )


def run(workload: Workload, policy: str, num_replicas: int, options: argparse.Namespace) -> Figures:
    """Every policy gets the same requests and the same noise."""
    arrivals = workload.arrivals(
        random.Random(options.seed), num_replicas, workload.requests_per_second * num_replicas
    )
    simulation = Simulation(
        policy, num_replicas, slowness=workload.slowness, seed=options.seed, has_events=not options.no_events
    )
    return simulation.run(itertools.islice(arrivals, options.requests * num_replicas // workload.num_turns))


if __name__ == "__main__":
    main()
