"""What a soak has seen, and whether that is well."""

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

from tests.soak.server import Resources

NOISE_MIB = 3.0  # by which a process may grow, however short the soak
GROWTH_MIB = 0.2  # for each 1,000 requests besides
WARM_UP = 0.3  # of the samples: caches fill, and pages of the KV cache are touched for the first time
ENGINE_WARM_UP = 150  # requests since the engine's start, for the same reason
MAX_SHOWN = 5
MAX_CHARACTERS = 2_000  # of each


@dataclasses.dataclass(frozen=True)
class MemorySample:
    """Anonymous memory in MiB after so many requests; of the engine, with its process and requests since."""

    num_requests: int
    server: float
    engine_pid: int | None
    engine: float | None


@dataclasses.dataclass
class Seen:
    """Filled while the soak runs."""

    num_asked: int = 0
    num_kills: int = 0
    by_fate: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    num_witnessed: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)
    wrong_witnesses: list[str] = dataclasses.field(default_factory=list)
    memory: list[MemorySample] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Check:
    name: str
    is_well: bool
    text: str

    def __str__(self) -> str:
        return f"  {'ok  ' if self.is_well else 'FAIL'}  {self.name}: {self.text}"


def slope(points: Sequence[tuple[float, float]]) -> float:
    """MiB for each 1,000 requests, by least squares; 0 when there is too little to say."""
    if len({x for x, _ in points}) < 3:
        return 0.0
    x, y = np.array(points, np.float64).T
    return float(np.polyfit(x / 1000, y, 1)[0])


def server_points(seen: Seen) -> list[tuple[float, float]]:
    first = WARM_UP * seen.num_asked
    return [(sample.num_requests, sample.server) for sample in seen.memory if sample.num_requests >= first]


def engine_points(seen: Seen) -> list[tuple[float, float]]:
    """Each engine's memory against the requests since its first sample, less the mean of its own."""
    lives: dict[int, list[tuple[float, float]]] = {}
    for sample in seen.memory:
        if sample.engine_pid is not None and sample.engine is not None:
            lives.setdefault(sample.engine_pid, []).append((sample.num_requests, sample.engine))
    points = []
    for life in lives.values():
        warm = [(x - life[0][0], y) for x, y in life if x - life[0][0] >= ENGINE_WARM_UP]
        mean_x = sum(x for x, _ in warm) / max(1, len(warm))
        mean_y = sum(y for _, y in warm) / max(1, len(warm))
        points += [(x - mean_x, y - mean_y) for x, y in warm]
    return points


def memory_check(name: str, points: Sequence[tuple[float, float]], sizes: Sequence[float]) -> Check:
    rate = slope(points)
    span = (max(x for x, _ in points) - min(x for x, _ in points)) / 1000 if points else 0.0
    grown, bound = rate * span, NOISE_MIB + GROWTH_MIB * span
    text = (
        f"{sizes[0]:.1f} to {sizes[-1]:.1f} MiB, at most {max(sizes):.1f};"
        f" {rate:+.2f} MiB for 1,000 requests,"
        f" {grown:+.1f} MiB over {1000 * span:.0f} (bound {bound:.1f})"
    )
    return Check(name, grown <= bound, text)


def checks(
    seen: Seen, before: Resources, after: Resources, metrics: dict[str, float], complaints: list[str]
) -> list[Check]:
    restarts = metrics["octavo:engine_restarts_total"]
    held = {
        name: metrics[f"vllm:{name}"]
        for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
    }
    engines = [sample.engine for sample in seen.memory if sample.engine is not None]
    return [
        Check(
            "witnesses",
            seen.num_witnessed > 0 and not seen.wrong_witnesses,
            f"{seen.num_witnessed} answers, {len(seen.wrong_witnesses)} that differ"
            + _shown(seen.wrong_witnesses),
        ),
        Check("answers", not seen.wrong, f"{len(seen.wrong)} wrong ones" + _shown(seen.wrong)),
        Check(
            "kills", restarts == seen.num_kills, f"{seen.num_kills}, and {restarts:.0f} engines started after"
        ),
        Check("blocks and slots", not any(held.values()), f"held at the end: {held}"),
        memory_check("server's memory", server_points(seen), [sample.server for sample in seen.memory]),
        memory_check("engine's memory", engine_points(seen), engines),
        Check(
            "server's resources", after == before, f"{after}" + ("" if after == before else f", was {before}")
        ),
        Check("server's log", not complaints, f"{len(complaints)} complaints" + _shown(complaints)),
    ]


def _shown(texts: Sequence[str]) -> str:
    return "".join(f"\n          {text[:MAX_CHARACTERS]}" for text in texts[:MAX_SHOWN])
