"""The built-in model with every sampling parameter: tokens and logprobs do not depend on circumstances."""

import pathlib

import numpy as np
import pytest

from octavo.core.messages import RequestOutput, Submit, TokenLogprobs
from octavo.core.request import Pooling
from octavo.core.sampling_params import SamplingParams
from octavo.engine.core import EngineCore
from tests.e2e.test_exactness import BLOCK_BYTES, make_core, random_prompts

NUM_TOKENS = 24
SAMPLINGS = {
    "greedy": {"temperature": 0},
    "seeded": {"temperature": 1.2, "top_p": 0.9},
    "penalties": {"repetition_penalty": 1.3, "presence_penalty": 0.5, "frequency_penalty": 0.4},
    "bias and allowed": {"logit_bias": ((500, 4.0),), "allowed_token_ids": tuple(range(100, 2000))},
    "bad words": {"temperature": 0, "bad_words_token_ids": tuple((token,) for token in range(28, 400))},
}


class Answer:
    def __init__(self) -> None:
        self.token_ids: list[int] = []
        self.logprobs = TokenLogprobs()
        self.prompt_logprobs = TokenLogprobs()
        self.pooled: bytes | None = None

    def take(self, output: RequestOutput) -> None:
        assert output.error is None
        self.token_ids += output.token_ids
        self.logprobs.extend(output.logprobs or TokenLogprobs())
        self.prompt_logprobs.extend(output.prompt_logprobs or TokenLogprobs())
        self.pooled = output.pooled or self.pooled

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Answer) and vars(self) == vars(other)


def params(name: str, **more: object) -> SamplingParams:
    return SamplingParams(
        **{"max_tokens": NUM_TOKENS, "ignore_eos": True, "logprobs": 2} | SAMPLINGS[name] | more
    )


def run(core: EngineCore, submits: list[Submit]) -> list[Answer]:
    answers = {submit.request_id: Answer() for submit in submits}
    for submit in submits:
        core.add(submit)
    while core.has_work:
        for output in core.step()[0]:
            answers[output.request_id].take(output)
    return list(answers.values())


def submit(i: int, prompt: list[int], sampling: SamplingParams, output: tuple[int, ...] = ()) -> Submit:
    return Submit(f"{i}", [*prompt, *output], len(prompt), sampling, 70 + i, float(i))


@pytest.fixture(scope="module")
def core(smollm2_path: pathlib.Path):
    core = make_core(smollm2_path, threads=1)
    yield core
    core.close()


@pytest.fixture(scope="module")
def small_core(smollm2_path: pathlib.Path):
    """Two threads, small chunks, and a cache in which four requests preempt one another."""
    core = make_core(
        smollm2_path,
        kv_cache_memory=20 * BLOCK_BYTES,
        max_model_len=256,
        max_num_batched_tokens=64,
        max_num_seqs=16,
    )
    yield core
    core.close()


@pytest.mark.parametrize(
    "name",
    [name if name == "penalties" else pytest.param(name, marks=pytest.mark.full) for name in SAMPLINGS],
)
def test_alone_in_a_batch_and_preempted(core: EngineCore, small_core: EngineCore, name: str) -> None:
    prompts = random_prompts(4, (50, 90))
    submits = [submit(i, prompt, params(name, prompt_logprobs=1)) for i, prompt in enumerate(prompts)]
    together = run(core, submits)
    assert [len(answer.prompt_logprobs) for answer in together] == [len(prompt) - 1 for prompt in prompts]
    assert run(core, submits[2:3]) == together[2:3]
    num_preemptions = small_core.step()[1].num_preemptions
    assert run(small_core, submits) == together
    assert small_core.step()[1].num_preemptions > num_preemptions


@pytest.mark.parametrize("name", SAMPLINGS)
def test_resumed_with_some_tokens_known(core: EngineCore, small_core: EngineCore, name: str) -> None:
    """What a new engine is asked for after a crash."""
    prompt = random_prompts(1, (60, 61))[0]
    whole = run(core, [submit(1, prompt, params(name))])[0]
    resumed = run(small_core, [submit(1, prompt, params(name), tuple(whole.token_ids[:9]))])[0]
    assert resumed.token_ids == whole.token_ids[9:]
    assert resumed.logprobs == whole.logprobs.beyond(9)


def test_penalties_and_bad_words_do_what_they_say(core: EngineCore) -> None:
    prompt = random_prompts(1, (60, 61))[0]
    plain = run(core, [submit(1, prompt, params("greedy"))])[0]
    unlike = params("greedy", frequency_penalty=2.0, presence_penalty=2.0)
    assert len(set(run(core, [submit(1, prompt, unlike)])[0].token_ids)) > len(set(plain.token_ids))
    never = params("greedy", bad_words_token_ids=((plain.token_ids[0],),))
    assert plain.token_ids[0] not in run(core, [submit(1, prompt, never)])[0].token_ids


@pytest.mark.parametrize("pooling", list(Pooling))
def test_embeddings_do_not_depend_on_chunks_or_neighbours(
    core: EngineCore, small_core: EngineCore, pooling: Pooling
) -> None:
    submits = [submit(i, prompt, SamplingParams()) for i, prompt in enumerate(random_prompts(4, (50, 200)))]
    for item in submits:
        item.pooling = pooling
    together = run(core, submits)
    assert run(core, submits[2:3]) == together[2:3] == run(small_core, submits)[2:3]
    vector = np.frombuffer(together[0].pooled or b"", "<f4")
    assert vector.shape == (576,) and np.isfinite(vector).all() and np.abs(vector).max() > 0
