"""SmolLM2's own chat answers, fed to transformers in fp32: how sure is each step, and would it agree?

The text is what the model is served for: a question through the chat template and the engine's answer. The
steps are those at which the engine chose a token: 200 of each answer.
"""

import pathlib

import pytest

from octavo import LLM, SamplingParams
from octavo.engine.model_files import open_model
from tests.backends.whole_models import compared, oracle_of

NUM_STEPS = 200  # tokens of an answer
MAX_LENGTH = 288  # of question and answer
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


def answers(questions: tuple[str, ...]) -> list[tuple[list[int], list[int]]]:
    """Of each question: the prompt's tokens and the answer's."""
    # Long enough for any NUM_STEPS: an answer does not end before.
    sampling = SamplingParams(temperature=0, min_tokens=NUM_STEPS, max_tokens=NUM_STEPS)
    with LLM(kv_cache_memory=2**28) as llm:
        prompts = [llm.encode_chat([{"role": "user", "content": question}]) for question in questions]
        given = llm.generate(prompts, sampling)
    return [(answer.prompt_token_ids, answer.token_ids) for answer in given]


@pytest.mark.full
@pytest.mark.timeout(600)
def test_most_steps_of_an_answer_are_beyond_doubt(smollm2_path: pathlib.Path) -> None:
    model = open_model(smollm2_path)
    texts = [prompt + answer[:-1] for prompt, answer in answers(QUESTIONS)]
    comparison = compared(model, oracle_of(model), texts, MAX_LENGTH, last=NUM_STEPS)
    assert len(comparison.errors) == NUM_STEPS * len(QUESTIONS)
    comparison.check(comparison.errors.max(), min_decisive=MIN_DECISIVE)
