"""It is rendered as prometheus_client's own is."""

from prometheus_client import CollectorRegistry, Counter, generate_latest

from octavo.metrics.plain_counter import PlainCounter


def test_it_renders_what_the_librarys_own_renders() -> None:
    registries = CollectorRegistry(), CollectorRegistry()
    ours = PlainCounter("octavo:x", "Of x.", "policy", "endpoint", registry=registries[0])
    theirs = Counter("octavo:x", "Of x.", ("policy", "endpoint"), registry=registries[1])
    for values, amount in ((("a", "r0"), 1), (("a", "r1"), 2.5), (("a", "r0"), 0), (('"\n', "r0"), 3)):
        ours.add(values, amount)
        theirs.labels(*values).inc(amount)
    assert generate_latest(registries[0]) == _without_created(registries[1])
    ours.forget(lambda values: values[1] == "r0")
    theirs.remove_by_labels({"endpoint": "r0"})
    assert generate_latest(registries[0]) == _without_created(registries[1])
    assert registries[0].get_sample_value("octavo:x_total", {"policy": "a", "endpoint": "r1"}) == 2.5


def _without_created(registry: CollectorRegistry) -> bytes:
    lines = generate_latest(registry).splitlines(keepends=True)
    return b"".join(line for line in lines if b"_created" not in line)
