"""Who is asked when, exactly: on virtual time."""

import itertools

import pytest

from octavo.bench.answer import Record
from octavo.bench.load import Arrivals, Asker, FixedConcurrency, Load, Replay
from octavo.bench.sender import Sender
from octavo.bench.workload import Planned, Request, Session
from tests.bench.scripted_server import NullWatcher, ScriptedServer
from tests.bench.virtual_loop import now, run_virtually


def session(turns: int, max_tokens: int) -> Session:
    for _ in range(turns):
        yield Request([1, 2, 3], max_tokens)


def ask(load: Load, server: ScriptedServer, count: int, *, turns: int = 1, max_tokens: int = 3,
        arrivals: list[float] | None = None) -> Asker:  # fmt: skip
    times = arrivals or itertools.repeat(None)
    planned = [Planned(session(turns, max_tokens), at) for _, at in zip(range(count), times, strict=False)]

    async def main() -> Asker:
        sender = Sender(server, "m", "completions", True, 600.0, now)
        asker = Asker(sender.send, now, NullWatcher())
        await load.run(planned, asker)
        return asker

    return run_virtually(main())


def ttfts(asker: Asker) -> list[float]:
    return [record.ttft for record in asker.records]


def test_users_ask_one_after_the_other_without_a_pause() -> None:
    server = ScriptedServer(first=0.1, gap=0.01)
    asker = ask(FixedConcurrency(2), server, 5)
    assert server.arrivals == pytest.approx([0, 0, 0.12, 0.12, 0.24])
    assert ttfts(asker) == pytest.approx([0.1] * 5)
    assert asker.max_running == 2
    assert [record.e2e for record in asker.records] == pytest.approx([0.12] * 5)


def test_arrivals_do_not_wait_for_answers() -> None:
    server = ScriptedServer(first=1.0, gap=1.0)
    asker = ask(Arrivals(rate=2.0, is_poisson=False, seed=0), server, 4)
    assert server.arrivals == pytest.approx([0, 0.5, 1.0, 1.5])
    assert asker.max_running == 4


def test_what_a_busy_server_holds_back_counts_against_it() -> None:
    """Coordinated omission: a server of one place and 0.1 s a request gets 20 a second; the n-th waits."""
    server = ScriptedServer(first=0.1, gap=0.0, places=1)
    asker = ask(Arrivals(rate=20.0, is_poisson=False, seed=0), server, 10, max_tokens=1)
    assert ttfts(asker) == pytest.approx([0.1 + 0.05 * i for i in range(10)])


def test_a_stall_is_seen_by_everybody_who_would_have_asked_during_it() -> None:
    server = ScriptedServer(first=0.01, gap=0.0, stall=(1.05, 1.95))
    asker = ask(Arrivals(rate=10.0, is_poisson=False, seed=0), server, 30, max_tokens=1)
    assert sorted(ttfts(asker)) == pytest.approx([0.01] * 21 + [0.06 + 0.1 * i for i in range(9)])


def test_a_client_that_is_late_is_not_early_in_its_figures() -> None:
    """The latency counts from the intended moment, though the request was sent later."""

    async def main() -> Asker:
        async def send(request: Request, record: Record) -> str:
            record.sent = now() + 0.3  # as if the client had been busy
            record.first = record.last = record.end = now() + 0.5
            return ""

        asker = Asker(send, now, NullWatcher())
        await Arrivals(1.0, False, 0).run([Planned(session(1, 1))], asker)
        return asker

    assert ttfts(run_virtually(main())) == pytest.approx([0.5])


def test_poisson_arrivals_are_random_with_the_rate_and_the_seed() -> None:
    offsets = list(itertools.islice(Arrivals(4.0, True, seed=7).offsets(), 4000))
    gaps = [b - a for a, b in itertools.pairwise(offsets)]
    mean = sum(gaps) / len(gaps)
    assert offsets[0] == 0 and mean == pytest.approx(0.25, rel=0.05)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert deviation == pytest.approx(mean, rel=0.05)  # as exponential gaps have it
    assert offsets[:9] == list(itertools.islice(Arrivals(4.0, True, seed=7).offsets(), 9))
    assert offsets[:9] != list(itertools.islice(Arrivals(4.0, True, seed=8).offsets(), 9))


def test_a_trace_is_replayed_at_its_times() -> None:
    server = ScriptedServer()
    ask(Replay(), server, 3, arrivals=[0.0, 0.7, 0.9])
    assert server.arrivals == pytest.approx([0.0, 0.7, 0.9])


def test_the_next_turn_comes_after_the_answer_and_counts_from_then() -> None:
    server = ScriptedServer(first=0.1, gap=0.01)
    asker = ask(Arrivals(1.0, False, 0), server, 1, turns=3)
    assert server.arrivals == pytest.approx([0, 0.12, 0.24])
    assert ttfts(asker) == pytest.approx([0.1] * 3)


def test_a_failure_ends_a_conversation_and_no_other() -> None:
    server = ScriptedServer(refused=frozenset({0}))
    asker = ask(FixedConcurrency(1), server, 2, turns=2)
    assert [record.failure for record in asker.records] == ["HTTP 429", None, None]
