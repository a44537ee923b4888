"""What a step costs with activations of bf16 and of int8: one thread's CPU time, the two by turns.

    .venv/bin/python -m tools.activation_cost [MODEL]

CPU time, so that a busy machine disturbs it little; the least of several rounds. Memory that both cores share
is what it does not show.
"""

import random
import sys
import time

from octavo import LLM, SamplingParams
from octavo.core.activation_dtype import ActivationDType

CONCURRENCIES = (1, 8, 32)
ROUNDS = 2
STEPS = 4  # that only decode
PROMPT_TOKENS = 128
LARGEST_TOKEN = 20_000


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else "default"
    engines = {kind.value: _engine(model, kind.value) for kind in ActivationDType}
    least: dict[tuple[str, str], float] = {}
    for number in range(ROUNDS):
        for kind, llm in engines.items():
            for what, seconds in _measured(llm, random.Random(number)).items():
                least[what, kind] = min(seconds, least.get((what, kind), seconds))
    for what in dict.fromkeys(what for what, _ in least):
        bf16, int8 = (1000 * least[what, kind] for kind in engines)
        print(f"{what:<24} bf16 {bf16:8.2f} ms   int8 {int8:8.2f} ms   {bf16 / int8:.2f} times as fast")


def _engine(model: str, activation_dtype: str) -> LLM:
    return LLM(
        model,
        threads=1,
        activation_dtype=activation_dtype,
        max_model_len=1024,
        kv_cache_memory=256 << 20,
        enable_prefix_caching=False,
    )


def _measured(llm: LLM, lots: random.Random) -> dict[str, float]:
    """CPU seconds of a step for so many requests, and of a prompt's token."""
    seconds = {}
    for count in CONCURRENCIES:
        prompts = [_prompt(lots, 4) for _ in range(count)]
        decoding = _cost(llm, prompts, STEPS + 1) - _cost(llm, prompts, 1)
        seconds[f"a step of {count}"] = decoding / STEPS
    prompt = _prompt(lots, PROMPT_TOKENS)
    seconds["a token of a prompt"] = _cost(llm, [prompt], 1) / PROMPT_TOKENS
    return seconds


def _prompt(lots: random.Random, num_tokens: int) -> list[int]:
    return [lots.randrange(LARGEST_TOKEN) for _ in range(num_tokens)]


def _cost(llm: LLM, prompts: list[list[int]], max_tokens: int) -> float:
    params = SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True)
    started = time.process_time()
    llm.generate(prompts, params, show_progress=False)
    return time.process_time() - started


if __name__ == "__main__":
    main()
