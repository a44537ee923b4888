"""Parameters do what they say, and embeddings do not depend on circumstances; on tiny models of the matrix.

That answers with any parameters do not depend on circumstances either is test_exactness_matrix.py.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from octavo.core.messages import Submit
from octavo.core.request import Pooling
from octavo.core.sampling_params import SamplingParams
from tests.e2e.matrix.circumstances import engine_of
from tests.e2e.matrix.engine import Engine
from tests.e2e.matrix.models import MatrixModel, write_tiny
from tests.e2e.matrix.questions import questions_of, random_prompts

MAX_TOKENS = 24


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MatrixModel:
    return MatrixModel(write_tiny("gemma3", tmp_path_factory.mktemp("model") / "gemma3"), MAX_TOKENS, (60,))


@pytest.fixture(scope="module")
def engine(model: MatrixModel) -> Iterator[Engine]:
    engine = engine_of(model)
    yield engine
    engine.close()


def test_penalties_and_bad_words_do_what_they_say(engine: Engine, model: MatrixModel) -> None:
    prompts = random_prompts(model.vocab_size, model.prompt_lengths)
    question = questions_of("greedy", prompts, MAX_TOKENS)[0]

    def answer(**changes: object) -> list[int]:
        sampling = dataclasses.replace(question.sampling, **changes)  # type: ignore[arg-type]
        return engine.run([dataclasses.replace(question, sampling=sampling)])[0].token_ids

    plain = answer()
    assert len(set(plain)) < len(set(answer(frequency_penalty=2.0, presence_penalty=2.0)))
    assert plain[0] not in answer(bad_words_token_ids=((plain[0],),))
    assert set(answer(allowed_token_ids=(5, 6))) <= {5, 6}
    assert answer(logit_bias=((7, 100.0),)) == [7] * MAX_TOKENS


def embeddings(engine: Engine, prompts: list[tuple[int, ...]], pooling: Pooling) -> list[bytes | None]:
    pooled: dict[str, bytes | None] = {}
    for i, prompt in enumerate(prompts):
        submit = Submit(f"e{i}", list(prompt), len(prompt), SamplingParams(), 0, float(i), pooling=pooling)
        engine.core.add(submit)
        pooled[submit.request_id] = None
    while engine.core.has_work:
        for output in engine.core.step()[0]:
            assert output.error is None
            pooled[output.request_id] = output.pooled or pooled[output.request_id]
    return list(pooled.values())


@pytest.mark.parametrize("pooling", list(Pooling))
def test_embeddings_do_not_depend_on_chunks_or_neighbours(
    engine: Engine, model: MatrixModel, pooling: Pooling
) -> None:
    prompts = random_prompts(model.vocab_size, (50, 200, 121, 64))
    together = embeddings(engine, prompts, pooling)
    assert embeddings(engine, prompts[2:3], pooling) == together[2:3]
    chunked = engine_of(model, max_num_batched_tokens=40, max_num_seqs=4, isa="portable", threads=1)
    assert embeddings(chunked, prompts, pooling) == together
    chunked.close()
    vector = np.frombuffer(together[0] or b"", "<f4")
    assert vector.shape == (96,) and np.isfinite(vector).all() and np.abs(vector).max() > 0
