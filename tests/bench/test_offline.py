"""Bursts through the real engine on the sim back end, whose virtual clock makes every time exact."""

import pytest

from octavo.bench.offline import BurstSize, OfflineBench, Step, summarize
from octavo.core.errors import EngineError
from octavo.core.step import StepInput
from octavo.engine.core import StepReport
from tests.fakes_engine import VOCAB_SIZE, SimEngine

SIZE = BurstSize(concurrency=4, input_tokens=32, output_tokens=8)


def bench_of(engine: SimEngine) -> OfflineBench:
    return OfflineBench(engine.core, VOCAB_SIZE, clock=engine.clock.now)


def test_times_are_those_of_the_steps() -> None:
    engine = SimEngine(max_num_batched_tokens=64)
    burst = bench_of(engine).run(BurstSize(concurrency=4, input_tokens=16, output_tokens=8))
    seconds = [step.seconds for step in burst.steps]
    assert [step.report.num_tokens for step in burst.steps] == [64, *[4] * 7]
    assert seconds == pytest.approx([step.report.seconds for step in burst.steps])
    assert burst.seconds == pytest.approx(sum(seconds))
    assert burst.ttft == pytest.approx([seconds[0]] * 4)
    assert burst.gaps == pytest.approx([second for second in seconds[1:] for _ in range(4)])
    assert burst.ends == pytest.approx([burst.seconds] * 4)


def test_a_summary_counts_prefill_and_takes_the_median_of_its_runs() -> None:
    engine = SimEngine()
    bench = bench_of(engine)
    bursts = [bench.run(SIZE) for _ in range(3)]
    bursts[0].seconds, bursts[1].seconds, bursts[2].seconds = 1.0, 4.0, 2.0
    result = summarize(SIZE, bursts, start_seconds=0.5, peak_memory_bytes=7)
    assert result.runs == [32.0, 8.0, 16.0]
    assert result.output_tokens_per_second == 16.0 and result.total_tokens_per_second == 16.0 * 5
    assert result.num_requests == 12 and result.concurrency == 4
    assert (result.start_seconds, result.peak_memory_bytes) == (0.5, 7)


def test_no_prompt_is_found_in_the_prefix_cache() -> None:
    engine = SimEngine()
    bench = bench_of(engine)
    for _ in range(3):
        bench.run(SIZE)
    assert engine.core.step()[1].prefix_cache_hits == 0


def test_the_model_of_step_time_learns_the_steps_of_the_sim_back_end() -> None:
    bench = bench_of(SimEngine())
    bench.run(SIZE)
    result = summarize(SIZE, [bench.run(SIZE)], start_seconds=0.0, peak_memory_bytes=0)
    assert result.step_time_error is not None and result.step_time_error < 1e-6


def test_an_error_is_relative_to_what_a_step_took() -> None:
    assert Step(StepReport(8, 100, 8, 0.2, 0.3, None), 0.21).relative_error == pytest.approx(0.5)


def test_a_step_that_computes_a_prompt_is_no_decode() -> None:
    assert Step(StepReport(8, 100, 8, 0.2, 0.2, None), 0.2).is_decode
    assert not Step(StepReport(23, 100, 8, 0.2, 0.2, None), 0.2).is_decode


def test_a_request_that_fails_ends_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SimEngine()
    engine.backend.not_finite_seeds = {0}
    with pytest.raises(EngineError, match=r"A request of the benchmark failed: .* not a finite number"):
        bench_of(engine).run(SIZE)


def test_prompts_are_random_ones_of_the_seed() -> None:
    def prompts(seed: int) -> list[list[int]]:
        engine = SimEngine()
        OfflineBench(engine.core, VOCAB_SIZE, seed=seed, clock=engine.clock.now).run(SIZE)
        first: StepInput = engine.backend.steps[0]
        return [admission.token_ids.tolist() for admission in first.admitted]

    assert prompts(1) == prompts(1) != prompts(2)
