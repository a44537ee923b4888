"""It is rendered as prometheus_client's own is."""

import random

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from octavo.metrics.token_histogram import TokenHistogram

BUCKETS = (0.25, 0.5, 1.0, 10.0)
LABELS = {"model_name": "m", "engine": "0"}


def test_it_renders_what_the_librarys_own_renders() -> None:
    registries = CollectorRegistry(), CollectorRegistry()
    ours = TokenHistogram("octavo:x_seconds", "Of x.", LABELS, buckets=BUCKETS, registry=registries[0])
    theirs = Histogram(
        "octavo:x_seconds", "Of x.", tuple(LABELS), buckets=BUCKETS, registry=registries[1]
    ).labels(**LABELS)
    assert generate_latest(registries[0]) == _without_created(registries[1])
    lots = random.Random(0)
    for value in (0.0, *BUCKETS, *(lots.choice(range(4096)) / 256 for _ in range(100))):
        count = lots.randrange(1, 4)
        ours.observe(value, count)
        for _ in range(count):
            theirs.observe(value)
    assert generate_latest(registries[0]) == _without_created(registries[1])


def _without_created(registry: CollectorRegistry) -> bytes:
    """Without the series of when a metric was made, which the server turns off."""
    lines = generate_latest(registry).splitlines(keepends=True)
    return b"".join(line for line in lines if b"_created" not in line)
