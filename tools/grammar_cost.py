"""What following a grammar costs: streams at once with a schema and without, by turns, in one process.

python tools/grammar_cost.py --concurrency 16 --output 128
Both kinds generate as many tokens: the schema's list has no end, and the end of turn is ignored.
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
) -> float:
    params = [
        SamplingParams(max_tokens=num_output, ignore_eos=True, seed=number) for number in range(concurrency)
    ]
    start = time.perf_counter()
    answers = llm.generate([prompt] * concurrency, params, grammar=grammar, show_progress=False)
    seconds = time.perf_counter() - start
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
        print(f"{name:16} {num_tokens / statistics.median(seconds):9.1f} tokens/s")
    slowdowns = [100 * (constrained / free - 1) for free, constrained in rounds]
    print(f"slowdown {statistics.median(slowdowns):.1f} %   ({min(slowdowns):.1f} to {max(slowdowns):.1f})")


if __name__ == "__main__":
    main()
