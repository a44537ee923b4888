"""A soak as `make soak` runs it, small; and what its report would find."""

import collections
import dataclasses
import pathlib

import pytest

from tests.soak.asked import Asker, Fate, ModelFacts
from tests.soak.report import Check, MemorySample, Seen, checks
from tests.soak.run import Plan, Soak, facts_of
from tests.soak.server import Resources, SoakServer, parse_metrics
from tests.soak.tiny import write_able

IDLE = Resources(fds=10, threads=3, tasks=2, streams=0, generations=0)
METRICS = """# HELP vllm:num_requests_running Requests being computed.
vllm:num_requests_running{engine="0",model_name="m"} 0.0
vllm:num_requests_waiting{engine="0",model_name="m"} 0.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.0
octavo:engine_restarts_total{engine="0"} 2.0
"""


@pytest.mark.asyncio
async def test_a_small_soak_with_two_kills(tmp_path: pathlib.Path) -> None:
    path = write_able("llama", tmp_path / "llama")
    server = SoakServer(tmp_path, str(path), "400KiB")
    try:
        soak = Soak(Plan(num_requests=150, kill_every=60), server, facts_of(path), lambda line: None)
        found = await soak.run()
    finally:
        assert server.stop() == 0
    assert not [str(check) for check in found if not check.is_well]
    assert soak.seen.num_kills == 2 and soak.seen.num_witnessed > 0
    assert set(soak.seen.by_fate) == set(Fate) and sum(soak.seen.by_fate.values()) == 150


def failed(
    seen: Seen, after: Resources = IDLE, metrics: str = METRICS, log: tuple[str, ...] = ()
) -> set[str]:
    found: list[Check] = checks(seen, IDLE, after, parse_metrics(metrics), list(log))
    return {check.name for check in found if not check.is_well}


def seen_with(server_growth: float = 0.0, engine_growth: float = 0.0) -> Seen:
    """Of 5,000 requests and two kills; growth in MiB for each 1,000 requests."""
    samples = [
        MemorySample(n, 40 + server_growth * n / 1000, 1 + n // 2000, 30 + engine_growth * (n % 2000) / 1000)
        for n in range(0, 5000, 25)
    ]
    fates = collections.Counter({"answered": 5000})
    return Seen(num_asked=5000, num_kills=2, by_fate=fates, num_witnessed=9, memory=samples)


def test_a_report_finds_what_is_wrong() -> None:
    assert failed(seen_with()) == set()
    assert failed(seen_with(server_growth=1.8)) == {"server's memory"}
    assert failed(seen_with(engine_growth=5.0)) == {"engine's memory"}
    assert failed(dataclasses.replace(seen_with(), wrong=["status 500"])) == {"answers"}
    assert failed(dataclasses.replace(seen_with(), wrong_witnesses=["b instead of a"])) == {"witnesses"}
    assert failed(dataclasses.replace(seen_with(), num_witnessed=0)) == {"witnesses"}
    assert failed(dataclasses.replace(seen_with(), num_kills=3)) == {"kills"}
    assert failed(seen_with(), after=dataclasses.replace(IDLE, fds=11)) == {"server's resources"}
    assert failed(seen_with(), after=dataclasses.replace(IDLE, streams=1)) == {"server's resources"}
    held = METRICS.replace('running{engine="0",model_name="m"} 0.0', 'running{engine="0",model_name="m"} 1.0')
    assert failed(seen_with(), metrics=held) == {"blocks and slots"}
    assert failed(seen_with(), log=("Traceback (most recent call last):",)) == {"server's log"}


def test_the_same_seed_asks_the_same() -> None:
    facts = ModelFacts(267, 512, reasons=True, fills_in=True, has_documents=True)
    one, two, other = Asker(1, facts), Asker(1, facts), Asker(2, facts)
    asked = [one.next() for _ in range(50)]
    assert asked == [two.next() for _ in range(50)] != [other.next() for _ in range(50)]
