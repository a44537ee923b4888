"""A comparison as tables in Markdown: docs/policies.md has them."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from tools.fleet_simulation.fleet import Figures

OURS, BASIS = "cost", "round-robin"

Compared = Mapping[str, Sequence[Figures]]  # by policy: of each seed
Measure = Callable[[Figures], float]

PERCENTILES: dict[str, Measure] = {"p50": lambda one: one.p50, "p99": lambda one: one.p99}
MEASURES: dict[str, Measure] = {
    **PERCENTILES,
    "mean": lambda one: statistics.mean(one.first_token_seconds),
    "last answer": lambda one: one.end_seconds,  # what throughput goes by: all have the same requests
}


def first_tokens(by_workload: Mapping[str, Compared]) -> Iterable[str]:
    """Seconds, p50 / p99, with their standard errors."""
    return _by_policy(
        by_workload,
        lambda figures: " / ".join(with_error([of(one) for one in figures]) for of in PERCENTILES.values()),
    )


def hits_and_speed(by_workload: Mapping[str, Compared]) -> Iterable[str]:
    """Prompt tokens from the cache; answers' tokens per second of the fleet, until the last one."""
    return _by_policy(by_workload, _hits_and_speed)


def beside_others(by_size: Mapping[int, Mapping[str, Compared]]) -> Iterable[str]:
    """`cost` beside the best of the others, and beside round robin."""
    workloads = next(iter(by_size.values()))
    yield from _head("replicas, seconds", workloads)
    for num_replicas, by_workload in by_size.items():
        for name, of in MEASURES.items():
            best = [_beside_best(compared, of) for compared in by_workload.values()]
            basis = [_beside(compared, BASIS, of) for compared in by_workload.values()]
            yield _row(f"{num_replicas}, {name} beside the best", best)
            yield _row(f"{num_replicas}, {name} beside `{BASIS}`", basis)


def best_of_others(compared: Compared, of: Measure) -> str:
    """The policy with the lowest mean."""
    others = [policy for policy in compared if policy != OURS]
    return min(others, key=lambda policy: statistics.mean(map(of, compared[policy])))


def paired(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """How much more ours is: the geometric mean over the pairs and, of several, its standard error."""
    ratios = [math.log(one / other) for one, other in zip(ours, theirs, strict=True)]
    ratio = math.exp(statistics.mean(ratios))
    if len(ratios) == 1:
        return f"{100 * (ratio - 1):+.1f} %"
    error = ratio * statistics.stdev(ratios) / math.sqrt(len(ratios))
    return f"{100 * (ratio - 1):+.1f} ± {100 * error:.1f} %"


def with_error(values: Sequence[float]) -> str:
    """The mean and, of several, its standard error; three digits."""
    mean = statistics.mean(values)
    digits = max(0, 2 - math.floor(math.log10(mean))) if mean > 0 else 3
    if len(values) == 1:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {statistics.stdev(values) / math.sqrt(len(values)):.{digits}f}"


def _by_policy(
    by_workload: Mapping[str, Compared], cell: Callable[[Sequence[Figures]], str]
) -> Iterable[str]:
    yield from _head("policy", by_workload)
    for policy in next(iter(by_workload.values())):
        yield _row(policy, [cell(compared[policy]) for compared in by_workload.values()])


def _hits_and_speed(figures: Sequence[Figures]) -> str:
    hits = statistics.mean(one.hit_rate for one in figures)
    return f"{hits:.1%}, {statistics.mean(one.tokens_per_second for one in figures):.0f}"


def _beside_best(compared: Compared, of: Measure) -> str:
    best = best_of_others(compared, of)
    return f"{_beside(compared, best, of)} ({best})"


def _beside(compared: Compared, other: str, of: Measure) -> str:
    return paired([of(one) for one in compared[OURS]], [of(one) for one in compared[other]])


def _head(first: str, workloads: Iterable[str]) -> Iterable[str]:
    names = list(workloads)
    yield _row(first, names)
    yield "|---" * (1 + len(names)) + "|"


def _row(first: str, cells: Sequence[str]) -> str:
    return f"| {first} | {' | '.join(cells)} |"
