"""Tokens of the built-in model do not depend on batch, chunks, prefix hits, preemption or threads."""

import pathlib
from collections.abc import Sequence

import numpy as np
import pytest

from octavo.config import EngineConfig, Environment
from octavo.core.messages import EngineStats, Submit
from octavo.core.sampling_params import SamplingParams
from octavo.engine.core import EngineCore, NullJournal
from octavo.engine.loader import load_engine

BLOCK_BYTES = 368_704
NUM_OUTPUT_TOKENS = 24


def make_core(path: pathlib.Path, **options: object) -> EngineCore:
    config = EngineConfig(
        **{"model": str(path), "max_model_len": 1024, "kv_cache_memory": 256 << 20} | options
    )
    return load_engine(config, Environment.read(), NullJournal()).core


class Runner:
    """Generates with one core and remembers its last stats."""

    def __init__(self, core: EngineCore) -> None:
        self._core = core
        self._count = 0
        self.stats = EngineStats()

    def __call__(self, prompts: Sequence[list[int]], **sampling: object) -> list[list[int]]:
        params = SamplingParams(
            **{"temperature": 0, "max_tokens": NUM_OUTPUT_TOKENS, "ignore_eos": True} | sampling
        )
        tokens: dict[str, list[int]] = {}
        for i, prompt in enumerate(prompts):
            self._count += 1
            request_id = f"{self._count}"
            tokens[request_id] = []
            self._core.add(Submit(request_id, prompt, len(prompt), params, 77 + i, float(self._count)))
        while self._core.has_work:
            outputs, self.stats = self._core.step()
            for output in outputs:
                assert output.error is None
                tokens[output.request_id] += output.token_ids
        return list(tokens.values())


def random_prompts(count: int, lengths: tuple[int, int]) -> list[list[int]]:
    rng = np.random.default_rng(11)
    return [rng.integers(100, 40000, rng.integers(*lengths)).tolist() for _ in range(count)]


@pytest.fixture(scope="module")
def run(smollm2_path: pathlib.Path):
    core = make_core(smollm2_path)
    yield Runner(core)
    core.close()


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 0.9, "top_p": 0.95}])
def test_alone_and_in_a_batch_of_64(run: Runner, sampling: dict[str, float]) -> None:
    prompts = random_prompts(64, (3, 40))
    together = run(prompts, **sampling)
    for i in (0, 17, 63):
        padded = [prompts[i]] if i == 0 else [[1]] * i + [prompts[i]]  # the seed is that of the i-th request
        alone = run(padded[-1:], **sampling) if sampling["temperature"] == 0 else run(padded, **sampling)[-1:]
        assert alone == together[i : i + 1]


def test_whole_and_chunked_prompts(run: Runner, smollm2_path: pathlib.Path) -> None:
    prompts = random_prompts(3, (150, 400))
    whole = run(prompts)
    core = make_core(smollm2_path, max_num_batched_tokens=48, max_num_seqs=4)
    assert Runner(core)(prompts) == whole
    core.close()


def test_cold_and_after_a_prefix_hit(run: Runner) -> None:
    shared = random_prompts(1, (300, 301))[0]
    prompts = [shared + tail for tail in random_prompts(4, (5, 20))]
    before = run.stats.prefix_cache_hits
    cold = [run([prompts[0]])[0]]
    assert run.stats.prefix_cache_hits == before
    warm = run(prompts)
    assert run.stats.prefix_cache_hits >= before + 4 * (len(shared) // 16) * 16
    assert warm[0] == cold[0]


def test_without_prefix_caching(run: Runner, smollm2_path: pathlib.Path) -> None:
    prompts = random_prompts(2, (50, 60))
    core = make_core(smollm2_path, enable_prefix_caching=False)
    other = Runner(core)
    assert other(prompts) == other(prompts) == run(prompts)
    assert other.stats.prefix_cache_hits == 0
    core.close()


@pytest.mark.parametrize("enable_prefix_caching", [True, False])
def test_undisturbed_and_preempted(
    run: Runner, smollm2_path: pathlib.Path, enable_prefix_caching: bool
) -> None:
    prompts = random_prompts(6, (60, 120))
    undisturbed = run(prompts, max_tokens=60)
    core = make_core(
        smollm2_path,
        kv_cache_memory=40 * BLOCK_BYTES,
        max_model_len=256,
        enable_prefix_caching=enable_prefix_caching,
    )
    squeezed = Runner(core)
    assert squeezed(prompts, max_tokens=60) == undisturbed
    assert squeezed.stats.num_preemptions > 0
    core.close()


@pytest.mark.parametrize(("num_tokens", "enable_prefix_caching"), [(100, True), (112, False), (113, False)])
def test_choices_that_share_a_prompt_and_choices_that_do_not(
    smollm2_path: pathlib.Path, num_tokens: int, enable_prefix_caching: bool
) -> None:
    prompt = random_prompts(1, (num_tokens, num_tokens + 1))[0]
    params = SamplingParams(temperature=1.0, max_tokens=NUM_OUTPUT_TOKENS, ignore_eos=True)
    core = make_core(smollm2_path, enable_prefix_caching=enable_prefix_caching)

    def choices(epoch: int, branches: Sequence[int], *, are_forks: bool) -> list[list[int]]:
        tokens: dict[str, list[int]] = {f"{epoch}.{branch}": [] for branch in branches}
        for branch, request_id in zip(branches, tokens, strict=True):
            fork_of = f"{epoch}.0" if are_forks and branch else None
            submit = Submit(request_id, prompt, num_tokens, params, 5, 0.0, branch=branch, fork_of=fork_of)
            core.add(submit)
        while core.has_work:
            for output in core.step()[0]:
                tokens[output.request_id] += output.token_ids
        return list(tokens.values())

    together = choices(0, range(4), are_forks=True)
    assert [choices(1 + branch, [branch], are_forks=False)[0] for branch in range(4)] == together
    assert len({tuple(tokens) for tokens in together}) == 4
    core.close()


def test_one_thread_and_two(run: Runner, smollm2_path: pathlib.Path) -> None:
    prompts = random_prompts(5, (10, 200))
    core = make_core(smollm2_path, threads=1)
    assert Runner(core)(prompts) == run(prompts)
    core.close()
