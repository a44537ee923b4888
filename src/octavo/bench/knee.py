"""Where a sweep of loads should stop."""

from collections.abc import Sequence

from octavo.bench.result import Result

GOOD_SHARE = 0.99


def knee(results: Sequence[Result]) -> int | None:
    """The index of the load with the most output tokens per second for each second a request takes.

    Beyond it latency grows faster than throughput (Kleinrock's power: On flow control in computer networks,
    1978). None with fewer than three loads, or when nothing was answered.
    """
    powers = [
        result.output_tokens_per_second / result.e2e_seconds.mean if result.e2e_seconds.mean > 0 else 0.0
        for result in results
    ]
    if len(results) < 3 or max(powers) == 0:
        return None
    return powers.index(max(powers))


def capacity(results: Sequence[Result]) -> int | None:
    """The index of the last load, in order, up to which 99 of 100 requests met the targets."""
    last = None
    for index, result in enumerate(results):
        share = None if result.serving is None else result.serving.good_share
        if share is None or share < GOOD_SHARE:
            break
        last = index
    return last
