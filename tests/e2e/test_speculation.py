"""The built-in model guesses ahead as it is served, and says the same."""

import pathlib

import pytest

from octavo.config import EngineConfig, Environment
from octavo.core.messages import EngineStats, Submit
from octavo.core.sampling_params import SamplingParams
from octavo.engine.loader import load_engine

LOOP = list(range(1000, 1030)) * 4  # whatever these are: the model says them again


def answers(
    path: pathlib.Path, prompt: list[int], sampling: SamplingParams, **changes: int
) -> tuple[dict[str, list[int]], EngineStats]:
    config = EngineConfig(model=str(path), kv_cache_memory=64 << 20, max_model_len=1024, **changes)
    core = load_engine(config, Environment.read()).core
    prompts = {"one": prompt, "other": prompt[: len(prompt) // 2]}
    for at, (name, token_ids) in enumerate(prompts.items()):
        core.add(Submit(name, token_ids, len(token_ids), sampling, seed=5, arrival=float(at)))
    told: dict[str, list[int]] = {name: [] for name in prompts}
    stats = EngineStats()
    while core.has_work:
        outputs, stats = core.step()
        for output in outputs:
            assert output.error is None and output.first_index == len(told[output.request_id])
            told[output.request_id] += output.token_ids
    core.close()
    return told, stats


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 0.3, "presence_penalty": 0.1}])
def test_the_built_in_model_says_the_same_in_fewer_steps(
    smollm2_path: pathlib.Path, sampling: dict[str, float]
) -> None:
    params = SamplingParams(max_tokens=48, ignore_eos=True, **sampling)  # type: ignore[arg-type]
    plain, without = answers(smollm2_path, LOOP, params, num_speculative_tokens=0)
    guessing, stats = answers(smollm2_path, LOOP, params)
    assert guessing == plain
    assert without.num_drafts == 0 < stats.num_accepted_tokens
    assert stats.num_steps < without.num_steps
