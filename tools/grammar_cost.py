"""What following a grammar costs: streams at once with a schema and without, by turns, in one process.

python tools/grammar_cost.py --concurrency 16 --output 128
Both kinds generate as many tokens: the schema's list has no end, and the end of turn is ignored. Processor
time, which a busy machine changes less, is that of all threads: also of what runs beside the forward pass.
"""

import argparse
import json
import statistics
import time

from octavo import LLM, GrammarKind, GrammarSpec, SamplingParams

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "role": {"enum": ["reader", "writer", "printer"]},
        "email": {"type": "string", "pattern": "^[a-z]{2,12}@[a-z]{2,12}\\.org$"},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 4},
    },
    "required": ["name", "age", "role", "email", "tags"],
    "additionalProperties": False,
}
ENDLESS = {"type": "array", "items": PERSON, "minItems": 10_000}


def seconds_of(
    llm: LLM, prompt: list[int], concurrency: int, num_output: int, grammar: GrammarSpec | None
) -> tuple[float, float]:
    """On the wall, and of the processor."""
    params = [
        SamplingParams(max_tokens=num_output, ignore_eos=True, seed=number) for number in range(concurrency)
    ]
    start, start_cpu = time.perf_counter(), time.process_time()
    answers = llm.generate([prompt] * concurrency, params, grammar=grammar, show_progress=False)
    seconds = time.perf_counter() - start, time.process_time() - start_cpu
    assert all(len(answer.token_ids) == num_output for answer in answers)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="default", help="a model octavo serves")
    parser.add_argument("--concurrency", type=int, default=16, help="streams at once")
    parser.add_argument("--output", type=int, default=128, help="tokens each")
    parser.add_argument("--rounds", type=int, default=5, help="of one run of each kind; medians are printed")
    options = parser.parse_args()
    grammar = GrammarSpec(GrammarKind.JSON_SCHEMA, json.dumps(ENDLESS))
    with LLM(options.model, max_model_len=1024) as llm:
        prompt = llm.encode_chat([{"role": "user", "content": "List people as JSON."}])
        rounds = []
        for number in range(options.rounds + 1):
            pair = [
                seconds_of(llm, prompt, options.concurrency, options.output, kind) for kind in (None, grammar)
            ]
            if number:  # the first loads the compiler, and fills the prefix cache
                rounds.append(pair)
    num_tokens = options.concurrency * options.output
    for name, seconds in zip(("free", "with the schema"), zip(*rounds, strict=True), strict=True):
        wall, processor = (statistics.median(kind) for kind in zip(*seconds, strict=True))
        print(
            f"{name:16} {num_tokens / wall:9.1f} tokens/s   {1e6 * processor / num_tokens:9.1f} us of a core"
        )
    for clock, name in enumerate(("slowdown", "more processor time")):
        shares = [100 * (constrained[clock] / free[clock] - 1) for free, constrained in rounds]
        print(f"{name} {statistics.median(shares):.1f} %   ({min(shares):.1f} to {max(shares):.1f})")


if __name__ == "__main__":
    main()
