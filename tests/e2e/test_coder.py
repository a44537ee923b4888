"""What the built-in model is too small for: code filled in between its two sides, and documents ranked."""

import ast
from collections.abc import Iterator

import httpx2
import openai
import pytest

from octavo.models.catalog import QWEN25_CODER
from octavo.server.relevance import INSTRUCTION, JUDGE, share
from tests.e2e.served import Served

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

GAPS = (
    ("def reverse(text: str) -> str:\n    ", "\n\nassert reverse('abc') == 'cba'\n", "return text[::-1]"),
    ("def is_even(n):\n    return ", "\n\nassert is_even(2)\n", "n % 2 == 0"),
    (
        "for i in range(10):\n    if i % 2 == 0:\n        ",
        "\n    else:\n        print('odd')\n",
        "print('even')",
    ),
)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    server = Served.start(QWEN25_CODER.name, "--kv-cache-memory", "256MiB", "--max-model-len", "2048")
    yield server
    assert server.stop() == 0


@pytest.mark.parametrize(("before", "after", "between"), GAPS)
def test_a_gap_is_filled_with_what_stands_between(
    served: Served, before: str, after: str, between: str
) -> None:
    with openai.OpenAI(base_url=served.url, api_key="none", max_retries=0) as client:
        answer = client.completions.create(
            model="default", prompt=before, suffix=after, max_tokens=40, temperature=0
        )
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason) == (between, "stop")
    ast.parse(before + choice.text + after)


def test_names_of_tokens_in_either_side_are_text(served: Served) -> None:
    body = {"model": "default", "prompt": "a = '<|fim_middle|>'", "suffix": "<|endoftext|>", "max_tokens": 1}
    answer = httpx2.post(f"{served.url}/completions", json={**body, "return_token_ids": True}, timeout=60)
    (choice,) = answer.json()["choices"]
    spelled = httpx2.post(
        f"{served.url.removesuffix('/v1')}/detokenize", json={"tokens": choice["prompt_token_ids"]}
    ).json()
    assert spelled["prompt"] == (
        "<|fim_prefix|>a = '<|fim_middle|>'<|fim_suffix|><|endoftext|><|fim_middle|>"
    )
    markers = [token_id for token_id in choice["prompt_token_ids"] if token_id > 151_642]
    assert len(markers) == 3


def test_documents_are_ranked_by_what_they_say(served: Served) -> None:
    documents = [
        "Bread is baked in an oven.",
        "Berlin is the capital of Germany.",
        "Paris is the capital and largest city of France.",
    ]
    body = {"model": "default", "query": "What is the capital of France?", "documents": documents}
    ranked = httpx2.post(f"{served.url}/rerank", json=body, timeout=60).json()["results"]
    assert [result["index"] for result in ranked] == [2, 1, 0]
    assert ranked[0]["relevance_score"] > 0.5 > ranked[1]["relevance_score"]


def test_a_score_is_what_the_first_token_s_probabilities_say(served: Served) -> None:
    query, document = "What is the capital of France?", "The Eiffel tower stands in Paris."
    asked = f"<Instruct>: {INSTRUCTION}\n<Query>: {query}\n<Document>: {document}"
    with openai.OpenAI(base_url=served.url, api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(
            model="default",
            messages=[{"role": "system", "content": JUDGE}, {"role": "user", "content": asked}],
            max_tokens=1,
            logprobs=True,
            top_logprobs=20,
        )
    top = answer.choices[0].logprobs.content[0].top_logprobs
    logprobs = {entry.token: entry.logprob for entry in top}
    body = {"model": "default", "text_1": query, "text_2": document}
    scored = httpx2.post(f"{served.url}/score", json=body, timeout=60).json()
    assert scored["data"][0]["score"] == share(logprobs["yes"], logprobs["no"])
    assert scored["usage"]["prompt_tokens"] == answer.usage.prompt_tokens
