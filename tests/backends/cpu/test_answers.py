"""SmolLM2's own chat answers, fed to transformers in fp32: how sure is each step, and would it agree?

The text is what the model is served for: a question through the chat template and the engine's answer, 200
tokens together. A logit error is taken up to one constant a row, as logits are: what is added to all of
them changes neither a probability nor a margin. So the error of a row is half the spread of its differences.
"""

import pathlib

import numpy as np
import pytest
import torch

from octavo import LLM, SamplingParams
from octavo.engine.model_files import open_model
from tests.backends.cpu.test_transformers import all_logits, backend_of, kl, oracle_of

LENGTH = 200  # tokens of question and answer
MAX_ERROR = 0.02  # of the oracle's logit range
MAX_KL = 0.01
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
    error, plain_error, logit_range, divergence, margin, agreed = [], [], [], [], [], []
    for token_ids in answers(QUESTIONS):
        ours = all_logits(backend, token_ids)
        with torch.no_grad():
            theirs = oracle(torch.tensor([token_ids])).logits[0].numpy()
        difference = ours - theirs
        error.append(np.ptp(difference, axis=1) / 2)
        plain_error.append(np.abs(difference).max())
        logit_range.append(np.ptp(theirs))
        divergence.append(kl(theirs, ours))
        top2 = np.partition(theirs, -2, axis=1)[:, -2:]
        margin.append(top2[:, 1] - top2[:, 0])
        agreed.append(ours.argmax(axis=1) == theirs.argmax(axis=1))
    backend.close()
    error, margin, agreed = (np.concatenate(values) for values in (error, margin, agreed))
    decisive = margin > 2 * error.max()
    plain, span = max(plain_error), max(logit_range)
    print(
        f"largest error {plain:.3f} = {plain / span:.2%} of the range, up to a constant {error.max():.3f};"
        f" KL {np.mean(divergence):.5f}; beyond doubt {decisive.mean():.1%} of steps"
        f" (by the plain error {(margin > 2 * plain).mean():.1%}); argmax agrees on {agreed.mean():.1%}"
    )
    assert plain <= MAX_ERROR * span
    assert np.mean(divergence) <= MAX_KL
    assert agreed[decisive].all()
    assert decisive.mean() >= MIN_DECISIVE
