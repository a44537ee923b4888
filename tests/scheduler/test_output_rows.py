"""Logprobs, prompt logprobs, embeddings and masks through the whole engine, on the simulated back end."""

import numpy as np
import pytest

from octavo.backends.sim.backend import sim_logprob, sim_token
from octavo.core.messages import RequestOutput, TokenLogprobs
from octavo.core.request import FinishReason, Pooling
from octavo.core.sampling_params import SamplingParams
from tests.fakes_engine import VOCAB_SIZE, SimEngine

PROMPT = list(range(100, 250))


def run(engine: SimEngine, **request: object) -> list[RequestOutput]:
    request_id = engine.add(PROMPT, **request)
    outputs = []
    while engine.core.has_work:
        outputs += [output for output in engine.step() if output.request_id == request_id]
    return outputs


def check_prompt_logprobs(outputs: list[RequestOutput]) -> None:
    """Each prompt token but the first, once and in order."""
    known = TokenLogprobs()
    for output in outputs:
        if output.prompt_logprobs is not None:
            assert output.first_prompt_index == len(known) + 1
            known.extend(output.prompt_logprobs)
    assert known.logprobs == [sim_logprob(i, PROMPT[i]) for i in range(1, len(PROMPT))]
    assert known.top_ids == [[i, i + 1] for i in range(1, len(PROMPT))]


def test_logprobs_come_with_their_tokens() -> None:
    outputs = run(SimEngine(), sampling=SamplingParams(max_tokens=3, logprobs=1))
    for i, output in enumerate(outputs):
        assert output.logprobs is not None
        position = len(PROMPT) + i
        assert output.logprobs.logprobs == [sim_logprob(position, output.token_ids[0])]
        assert (output.logprobs.ranks, output.logprobs.top_ids) == ([1], [[position]])
    assert run(SimEngine(), max_tokens=1)[0].logprobs is None


@pytest.mark.parametrize("max_tokens", [0, 2])
@pytest.mark.parametrize("chunk", [16, 64, 1000])
def test_prompt_logprobs_in_chunks(max_tokens: int, chunk: int) -> None:
    engine = SimEngine(max_num_batched_tokens=chunk)
    outputs = run(engine, sampling=SamplingParams(max_tokens=max_tokens, prompt_logprobs=2))
    check_prompt_logprobs(outputs)
    assert outputs[-1].finish_reason is FinishReason.LENGTH
    assert sum(len(output.token_ids) for output in outputs) == max_tokens
    assert engine.stats.num_prompt_tokens == len(PROMPT)


def test_prompt_logprobs_do_not_read_the_prefix_cache() -> None:
    engine = SimEngine()
    run(engine, max_tokens=1)
    check_prompt_logprobs(run(engine, sampling=SamplingParams(max_tokens=1, prompt_logprobs=2)))
    assert run(engine, max_tokens=1)[0].num_cached_tokens == 144


def test_prompt_logprobs_beside_a_leader_with_the_same_prompt() -> None:
    engine = SimEngine()
    engine.add(PROMPT, max_tokens=3)
    check_prompt_logprobs(run(engine, sampling=SamplingParams(max_tokens=1, prompt_logprobs=2)))


@pytest.mark.parametrize(
    ("num_blocks", "max_num_batched_tokens"), [(16, 32), (15, 4)]
)  # in decode; in prefill
def test_prompt_logprobs_survive_preemption(num_blocks: int, max_num_batched_tokens: int) -> None:
    engine = SimEngine(num_blocks=num_blocks, max_num_seqs=2, max_num_batched_tokens=max_num_batched_tokens)
    engine.run_until_token(engine.add(list(range(500, 560)), max_tokens=60))
    outputs = run(engine, sampling=SamplingParams(max_tokens=30, prompt_logprobs=2, logprobs=0))
    check_prompt_logprobs(outputs)
    assert engine.stats.num_preemptions > 0
    assert all(output.logprobs is not None for output in outputs if output.token_ids)


@pytest.mark.parametrize("pooling", list(Pooling))
def test_an_embedding_is_made_of_the_prompts_hidden_states(pooling: Pooling) -> None:
    """Those of the simulated back end are (position, token)."""
    engine = SimEngine(max_num_batched_tokens=32)
    run(engine, max_tokens=1)
    for _ in range(2):
        output = run(engine, pooling=pooling)[-1]
        assert output.pooled is not None and output.finish_reason is FinishReason.STOP
        assert output.token_ids == []
        embedding = np.frombuffer(output.pooled, "<f4").tolist()
        assert embedding == ([149, 249] if pooling is Pooling.LAST else [74.5, 174.5])


def test_an_embedding_of_a_single_token() -> None:
    engine = SimEngine()
    request_id = engine.add([7], pooling=Pooling.MEAN)
    engine.run()
    assert np.frombuffer(engine.last[request_id].pooled or b"", "<f4").tolist() == [0, 7]


class OnlyMultiplesOf:
    """Allows multiples of a number, and none once it has seen so many tokens."""

    def __init__(self, number: int, limit: int = 99) -> None:
        self.number = number
        self.limit = limit
        self.seen: list[int] = []
        self.is_finished = False
        self.failure: str | None = None

    def fill_mask(self, mask: np.ndarray) -> None:
        for token in range(0, VOCAB_SIZE if len(self.seen) < self.limit else 0, self.number):
            mask[token // 32] |= np.uint32(1 << token % 32)

    def advance(self, token_ids: list[int]) -> None:
        self.seen += token_ids


def test_a_constraint_masks_its_own_request() -> None:
    engine = SimEngine()
    first, second = engine.add(PROMPT, max_tokens=6), engine.add(PROMPT, max_tokens=6)
    constraint = engine.scheduler._requests[second].constraint = OnlyMultiplesOf(7)
    engine.run()
    assert engine.tokens[first] == engine.expected_tokens(first, 6)
    assert all(token % 7 == 0 for token in engine.tokens[second])
    assert constraint.seen == engine.tokens[second]


def test_a_request_that_may_sample_nothing_fails_alone() -> None:
    engine = SimEngine()
    first, second = engine.add(PROMPT, max_tokens=6), engine.add(PROMPT, max_tokens=6)
    engine.scheduler._requests[second].constraint = OnlyMultiplesOf(7, limit=2)
    engine.run()
    engine.check_complete(first)
    assert engine.last[second].finish_reason is FinishReason.ERROR
    assert "No token may come next" in (engine.last[second].error or "")
    assert engine.last[second].error_code == "no_token_allowed"
    assert len(engine.tokens[second]) == 2


def test_a_constraint_says_why_it_is_at_its_end() -> None:
    engine = SimEngine()
    request_id = engine.add(PROMPT, max_tokens=6)
    constraint = engine.scheduler._requests[request_id].constraint = OnlyMultiplesOf(7, limit=0)
    constraint.failure = "The grammar is too complex."
    engine.run()
    last = engine.last[request_id]
    assert (last.error, last.error_code) == ("The grammar is too complex.", "grammar_too_complex")


@pytest.mark.parametrize("max_tokens", [1, 6])
def test_a_finished_constraint_ends_the_answer(max_tokens: int) -> None:
    """Also with the last token that there is room for, and before min_tokens."""
    engine = SimEngine()
    sampling = SamplingParams(max_tokens=max_tokens, min_tokens=max_tokens)
    request_id = engine.add(PROMPT, sampling=sampling)
    engine.scheduler._requests[request_id].constraint = constraint = OnlyMultiplesOf(7)
    constraint.is_finished = True
    engine.run()
    assert engine.last[request_id].finish_reason is FinishReason.STOP
    assert len(engine.tokens[request_id]) == 1


def test_allowed_token_ids_reach_the_back_end() -> None:
    engine = SimEngine()
    request_id = engine.add(PROMPT, sampling=SamplingParams(max_tokens=5, allowed_token_ids=(3, 900)))
    engine.run()
    assert set(engine.tokens[request_id]) <= {3, 900}


@pytest.mark.parametrize("field", ["allowed_token_ids", "bad_words_token_ids", "logit_bias"])
def test_ids_outside_the_vocabulary_are_refused(field: str) -> None:
    outside = {
        "allowed_token_ids": (VOCAB_SIZE,),
        "bad_words_token_ids": ((1, -1),),
        "logit_bias": ((VOCAB_SIZE, 1.0),),
    }
    output = run(SimEngine(), sampling=SamplingParams(**{field: outside[field]}))[-1]
    assert output.error is not None and output.error.startswith(f"{field} has an id outside the vocabulary")


def test_tokens_differ_by_branch_and_position() -> None:
    tokens = {sim_token(1, branch, position, VOCAB_SIZE) for branch in range(3) for position in range(3)}
    assert len(tokens) == 9
