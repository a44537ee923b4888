"""Requests of each kind, whose answers are known before the soak begins."""

import json
from typing import Any

from tests.soak.asked import CHAT, COMPLETIONS, EMBEDDINGS, TEXT, TOOLS, Asked, Fate, ModelFacts

MAX_TOKENS = 32
_IDS = [(7 * i + 3) % 200 for i in range(75)]
_ALLOWED = list(range(32, 127))
_SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}, "word": {"type": "string"}}}


def witnesses(facts: ModelFacts) -> list[Asked]:
    found = [
        _completion(temperature=0),
        _completion(prompt=_IDS, temperature=1.2, seed=5, top_p=0.95, stream=True),
        _completion(prompt=_IDS, temperature=0, frequency_penalty=0.6, repetition_penalty=1.2),
        _completion(prompt=[TEXT, "a"], n=2, seed=4, logit_bias={"70": 3.0}, min_tokens=9, stop="e"),
        _completion(seed=8, logprobs=4),
        _completion(n=2, best_of=4, seed=2, echo=True, prompt_logprobs=1),
        _completion(seed=6, guided_json=_SCHEMA, stream=True, logprobs=1),
        _chat(seed=9, allowed_token_ids=_ALLOWED),
        _chat(seed=3, n=3, bad_words=["a road"]),
        _chat("a road", seed=1, logprobs=True, top_logprobs=2, stream=True),
        _chat("a road", seed=7, tools=TOOLS, tool_choice="required", stream=True),
        Asked(EMBEDDINGS, json.dumps({"model": "default", "input": [TEXT, "a"]}).encode(), Fate.ANSWERED, 2),
    ]
    if facts.reasons:
        found.append(_chat("a road", seed=1, thinking_token_budget=7, stream=True))
    if facts.fills_in:
        found.append(_completion(prompt="the road", suffix="in winter", seed=1))
    return found


def _completion(prompt: str | list[int] | list[str] = TEXT, **fields: Any) -> Asked:
    num_prompts = len(prompt) if isinstance(prompt, list) and isinstance(prompt[0], str) else 1
    return _asked(COMPLETIONS, num_prompts, {"prompt": prompt, **fields})


def _chat(text: str = TEXT, **fields: Any) -> Asked:
    return _asked(CHAT, 1, {"messages": [{"role": "user", "content": text}], **fields})


def _asked(path: str, num_prompts: int, fields: dict[str, Any]) -> Asked:
    body = {"model": "default", "max_tokens": MAX_TOKENS, "ignore_eos": True, "return_token_ids": True}
    body |= fields
    num_choices = num_prompts * body.get("n", 1)
    is_stream = body.get("stream", False)
    return Asked(path, json.dumps(body).encode(), Fate.ANSWERED, num_choices, MAX_TOKENS, is_stream)
