"""The tool that compares policies: it runs, its figures are those of real engines, and it can tell apart."""

import itertools
import random

import pytest

from octavo.config import ROUTING_POLICIES
from tools.fleet_simulation.baselines import BASELINES
from tools.fleet_simulation.fleet import Figures, Simulation
from tools.fleet_simulation.workloads import OUTPUT_TOKENS, WORKLOADS, hot_prefix, shared_prefixes


def run(policy: str, *, slowness: float = 1.0) -> Figures:
    arrivals = itertools.islice(shared_prefixes(random.Random(0), 2, 6.0), 40)
    return Simulation(policy, 2, slowness=slowness, seed=0).run(arrivals)


@pytest.mark.parametrize("policy", [*ROUTING_POLICIES, *BASELINES])
def test_every_policy_answers_everything(policy: str) -> None:
    figures = run(policy)
    assert len(figures.first_token_seconds) == 40 and figures.num_output_tokens == 40 * OUTPUT_TOKENS
    assert min(figures.first_token_seconds) > 0 and figures.p50 <= figures.p99


def test_affinity_hits_and_the_figures_show_it() -> None:
    assert run("cost").hit_rate > run("round-robin").hit_rate > 0


def test_the_same_seed_gives_the_same_figures() -> None:
    assert run("cost") == run("cost")


def test_a_slow_replica_is_felt() -> None:
    assert run("round-robin", slowness=4.0).p99 > run("round-robin").p99


@pytest.mark.parametrize(("arrivals", "rate"), [(hot_prefix, 6.0), (shared_prefixes, 6.0)])
def test_one_that_joins_has_its_share_within_ten_seconds(arrivals, rate: float) -> None:
    """Though the others' caches hold what is asked for, and its own holds nothing."""
    until_end = itertools.takewhile(lambda one: one.seconds < 18, arrivals(random.Random(0), 3, 3 * rate))
    figures = Simulation("cost", 3, slowness=1.0, seed=0, last_joins_at=8.0).run(until_end)
    routed = [endpoint for seconds, endpoint in figures.routes if 8 <= seconds < 18]
    assert routed.count("r2") > 0.6 * len(routed) / 3


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_workloads_come_in_order_of_time(workload) -> None:
    first = list(itertools.islice(workload.arrivals(random.Random(0), 2, 10.0), 30))
    seconds = [arrival.seconds for arrival in first]
    assert seconds == sorted(seconds) and all(arrival.token_ids for arrival in first)


def test_conversations_grow() -> None:
    workload = next(one for one in WORKLOADS if one.name == "conversations")
    arrival = next(workload.arrivals(random.Random(0), 1, 1.0))
    turns = [arrival]
    while (arrival := arrival.follow_up(arrival.seconds + 1, [7] * 10)) is not None:
        turns.append(arrival)
    assert len(turns) == workload.num_turns
    assert turns[1].token_ids[: len(turns[0].token_ids)] == turns[0].token_ids
