"""SmolLM2's own chat answers, fed to transformers in fp32: how sure is each step, and would it agree?

The text is what the model is served for: a question through the chat template and the engine's answer, 200
tokens together. A logit error is taken up to one constant a row, as logits are.
"""

import pathlib

import pytest
import torch

from octavo import LLM, SamplingParams
from octavo.engine.model_files import open_model
from tests.backends.comparison import Comparison
from tests.backends.cpu.test_transformers import all_logits, backend_of, oracle_of

LENGTH = 200  # tokens of question and answer
MIN_DECISIVE = 0.6  # share of steps whose oracle margin exceeds twice the largest error of all steps

QUESTIONS = (
    "What is the capital of France?",
    "Write a short story about a dog.",
    "Explain how photosynthesis works.",
    "List the planets of the solar system.",
    "Write a Python function that adds two numbers.",
    "How do I make tea?",
    "Who was Albert Einstein?",
    "What is machine learning?",
    "Give me three tips for better sleep.",
    "Write a poem about the sea.",
    "Why is the sky blue?",
    "How does a bicycle stay upright?",
    "Describe the water cycle.",
    "Write an email that asks for a day off.",
    "What is the difference between a virus and a bacterium?",
    "Tell me about the history of Rome.",
    "How do computers store numbers?",
    "Name five kinds of trees and where they grow.",
    "What should I cook tonight?",
    "Summarise the story of Romeo and Juliet.",
)


def answers(questions: tuple[str, ...]) -> list[list[int]]:
    with LLM(kv_cache_memory=2**28) as llm:
        conversations = []
        for question in questions:
            # Long enough to be cut to LENGTH: an answer does not end before.
            sampling = SamplingParams(temperature=0, min_tokens=LENGTH, max_tokens=LENGTH)
            answer = llm.chat([{"role": "user", "content": question}], sampling)
            conversations.append((answer.prompt_token_ids + answer.token_ids)[:LENGTH])
    return conversations


@pytest.mark.full
@pytest.mark.timeout(600)
def test_most_steps_of_an_answer_are_beyond_doubt(smollm2_path: pathlib.Path) -> None:
    model = open_model(smollm2_path)
    oracle = oracle_of(model)
    backend = backend_of(model.program, model.checkpoint.parts, LENGTH + 8)
    comparison = Comparison()
    for token_ids in answers(QUESTIONS):
        with torch.no_grad():
            theirs = oracle(torch.tensor([token_ids])).logits[0].numpy()
        comparison.add(all_logits(backend, token_ids), theirs)
    backend.close()
    error = comparison.errors_up_to_a_constant.max()
    decisive = comparison.decisive(error)
    by_plain = comparison.decisive(comparison.errors.max())
    print(
        f"{comparison}; up to a constant {error:.3f}, beyond doubt {decisive.mean():.1%} of steps"
        f" (by the plain error {by_plain.mean():.1%})"
    )
    comparison.check_bounds()
    assert comparison.agreed[decisive].all()
    assert decisive.mean() >= MIN_DECISIVE
