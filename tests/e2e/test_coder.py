"""What the built-in model is too small for: code filled in between its two sides, and documents ranked."""

import ast
from collections.abc import Iterator

import httpx2
import openai
import pytest

from octavo.models.catalog import QWEN25_CODER
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
