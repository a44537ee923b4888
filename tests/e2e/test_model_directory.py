"""A model directory with real weights, served from end to end: the built-in model's GGUF file written as one.

Tokens, template and weights are the same, bit for bit. Answers are, but where two tokens are about as likely:
a directory rotates q and k in halves, so that attention's products are summed in another order.
"""

import pathlib
import subprocess
import sys
from typing import Any

import httpx2
import numpy as np
import pytest

from octavo.engine.model_files import open_model, open_text
from octavo.weights.formats import expand_to_f32
from tests.e2e.served import Served
from tests.models.as_directory import halves_order, rounded, write_directory

MAX_DIFFERENCE = 0.1  # of a token's log probability; 0.08 was the largest seen
NUM_TOKENS = 48
QUESTIONS = (
    "What is the capital of France?",
    "Explain how photosynthesis works.",
    "Write a Python function that adds two numbers.",
    "Write a poem about the sea.",
    "Who was Albert Einstein?",
    "List the planets of the solar system.",
)
OCTAVO = "import sys; from octavo.cli.main import main; sys.exit(main())"

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, smollm2_path: pathlib.Path) -> pathlib.Path:
    return write_directory(smollm2_path, tmp_path_factory.mktemp("models") / "smollm2-bf16")


def test_it_is_the_same_text(directory: pathlib.Path, smollm2_path: pathlib.Path) -> None:
    ours, theirs = open_text(directory), open_text(smollm2_path)
    assert ours.tokenizer.vocabulary.token_bytes == theirs.tokenizer.vocabulary.token_bytes
    assert ours.tokenizer.vocabulary.control_ids == theirs.tokenizer.vocabulary.control_ids
    assert (ours.end_ids, ours.max_position) == (theirs.end_ids, theirs.max_position)
    text = pathlib.Path(__file__).read_text() + "<|im_start|> naïve 東京 🙂\n\n   1234567"
    assert ours.tokenizer.encode(text, allow_special=False) == theirs.tokenizer.encode(
        text, allow_special=False
    )
    assert ours.tokenizer.encode_prompt(text) == theirs.tokenizer.encode_prompt(text)
    for question in QUESTIONS:
        messages = [{"role": "user", "content": question}]
        assert ours.chat_template.encode_chat(messages) == theirs.chat_template.encode_chat(messages)


def test_its_weights_are_those_that_the_file_stands_for(
    directory: pathlib.Path, smollm2_path: pathlib.Path
) -> None:
    ours, theirs = open_model(directory), open_model(smollm2_path)
    assert ours.checkpoint.parts.keys() == theirs.checkpoint.parts.keys()
    for part, tensor in theirs.checkpoint.parts.items():
        values, found = expand_to_f32(tensor), expand_to_f32(ours.checkpoint.parts[part])
        if values.shape[1] > 1:
            values = halves_order(values, theirs.architecture) if part.endswith((".q", ".k")) else values
            values = (rounded(values).astype(np.uint32) << 16).view(np.float32)
        assert np.array_equal(found, values), part


@pytest.fixture(scope="module")
def by_model(directory: pathlib.Path) -> dict[str, list[dict[str, Any]]]:
    """What `octavo serve` answers on either."""
    return {"directory": answers_of(str(directory)), "file": answers_of("default")}


def answers_of(model: str) -> list[dict[str, Any]]:
    options = ("--served-model-name", "tested", "--max-model-len", "512", "--kv-cache-memory", "128MiB")
    server = Served.start(model, *options)
    try:
        return [asked(server.url, question) for question in QUESTIONS]
    finally:
        assert server.stop() == 0


def asked(url: str, question: str) -> dict[str, Any]:
    body = {
        "model": "tested",
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": NUM_TOKENS,
        "logprobs": True,
        "top_logprobs": 5,
    }
    reply = httpx2.post(f"{url}/chat/completions", json=body, timeout=120)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_its_chat_answers_are_those_of_the_file(by_model: dict[str, list[dict[str, Any]]]) -> None:
    differences, num_equal = [], 0
    for ours, theirs in zip(by_model["directory"], by_model["file"], strict=True):
        assert ours["usage"]["prompt_tokens"] == theirs["usage"]["prompt_tokens"]
        ours, theirs = ours["choices"][0], theirs["choices"][0]
        num_equal += ours["message"] == theirs["message"]
        for mine, its in zip(ours["logprobs"]["content"], theirs["logprobs"]["content"], strict=False):
            if mine["token"] != its["token"]:  # two tokens between which the file is undecided
                likely = {top["token"]: top["logprob"] for top in its["top_logprobs"]}
                assert its["logprob"] - likely[mine["token"]] <= 2 * MAX_DIFFERENCE
                break
            differences.append(abs(mine["logprob"] - its["logprob"]))
    print(f"{num_equal} of {len(QUESTIONS)} answers equal, log probabilities within {max(differences):.4f}")
    assert max(differences) <= MAX_DIFFERENCE
    assert len(differences) >= NUM_TOKENS * len(QUESTIONS) / 2
    assert "Paris" in by_model["directory"][0]["choices"][0]["message"]["content"]


def test_octavo_run_answers_with_it(
    directory: pathlib.Path, by_model: dict[str, list[dict[str, Any]]]
) -> None:
    options = ("--temperature", "0", "--max-tokens", str(NUM_TOKENS), "--kv-cache-memory", "128MiB")
    command = [sys.executable, "-c", OCTAVO, "run", str(directory), QUESTIONS[0], *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == by_model["directory"][0]["choices"][0]["message"]["content"].strip()
