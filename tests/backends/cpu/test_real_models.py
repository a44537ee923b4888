"""The other named models, whole: fetched, planned, loaded, compared with transformers in fp32, and asked.

The oracle reads the same GGUF file with transformers' own reader and dequantizers: nothing of ours is in it.
"""

import gc
import time

import pytest
import torch
import transformers

from octavo import LLM, SamplingParams
from octavo.config import Environment
from octavo.engine.model_files import open_model, open_text
from octavo.models.catalog import GEMMA3, QWEN25_CODER, NamedModel
from octavo.models.source import resolve
from tests.backends.whole_models import compared, passages

NUM_PASSAGES = 20
LENGTH = 100  # tokens of a passage
MIN_AGREED = 0.95  # share of steps with the oracle's argmax
MAX_ERROR = 0.04  # of the logit range, at the worst of 2,000 steps: Qwen's is 2.8 %, Gemma's 1.1 %
QUESTION = "Write a Python function that reverses a string. Only code."

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]
models = pytest.mark.parametrize("named", [QWEN25_CODER, GEMMA3], ids=lambda named: named.name)


@models
def test_every_step_is_the_oracle_s(named: NamedModel) -> None:
    path = resolve(named.name, Environment.read().home)
    oracle = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()
    model = open_model(path)
    start = open_text(path).tokenizer.encode_prompt("a")[:-1]  # gemma's <bos>, without which it is lost
    texts = [start + passage for passage in passages(path, NUM_PASSAGES, LENGTH)]
    comparison = compared(model, oracle, texts, LENGTH + 12)
    del oracle
    gc.collect()
    comparison.check(comparison.errors, max_error=MAX_ERROR, min_agreed=MIN_AGREED)


@models
def test_it_is_planned_loaded_and_answers(named: NamedModel) -> None:
    start = time.perf_counter()
    with LLM(named.name, max_model_len=2048, kv_cache_memory=256 << 20) as llm:
        seconds = time.perf_counter() - start
        plan = {
            name: f"{value / 2**20:,.0f} MiB" for name, value in llm.info.memory.items() if "bytes" in name
        }
        sampling = SamplingParams(temperature=0, max_tokens=48)
        if llm.has_chat_template:
            prompt = llm.encode_chat([{"role": "user", "content": QUESTION}])
        else:
            prompt = "The capital of France is"
        *_, answer = llm.stream(prompt, sampling)
        again = llm.generate([answer.prompt_token_ids], sampling)[0]
    print(f"{named.name}: loaded in {seconds:.1f} s, {plan}; {answer.text!r}")
    assert answer.token_ids == again.token_ids
    assert ("[::-1]" if named is QWEN25_CODER else "the capital") in answer.text
