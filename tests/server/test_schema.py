"""Requests become sampling parameters."""

from typing import Any

import msgspec
import pytest

from octavo.core.errors import InvalidRequestError
from octavo.core.sampling_params import SamplingParams
from octavo.server.decoder import BodyDecoder
from octavo.server.schema import ChatRequest, CompletionRequest

MESSAGES = [{"role": "user", "content": "hi"}]


def chat(**fields: Any) -> ChatRequest:
    body = msgspec.json.encode({"model": "m", "messages": MESSAGES, **fields})
    return BodyDecoder(ChatRequest, {}).decode(body).request


def completion(**fields: Any) -> CompletionRequest:
    body = msgspec.json.encode({"model": "m", "prompt": "p", **fields})
    return BodyDecoder(CompletionRequest, {}).decode(body).request


def test_what_is_left_out_or_null_has_its_default() -> None:
    names = (
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "seed",
        "stop",
        "max_tokens",
        "min_tokens",
        "ignore_eos",
        "stop_token_ids",
        "n",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "logit_bias",
        "allowed_token_ids",
    )
    nothing = dict.fromkeys((*names, "stream", "stream_options", "max_completion_tokens"))
    assert chat().sampling_params() == chat(**nothing).sampling_params() == SamplingParams()


def test_every_sampling_field_is_taken() -> None:
    fields = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "min_p": 0.1,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "repetition_penalty": 1.5,
        "seed": -3,
        "max_tokens": 9,
        "min_tokens": 2,
        "ignore_eos": True,
    }
    assert completion(stop=["a", "b"], **fields).sampling_params() == SamplingParams(
        stop=("a", "b"), **fields
    )  # type: ignore[arg-type]
    assert completion(stop="a").sampling_params().stop == ("a",)
    assert completion(stop_token_ids=[3, 4]).sampling_params().stop_token_ids == (3, 4)
    assert completion(allowed_token_ids=[3, 4, 3]).sampling_params().allowed_token_ids == (3, 4)
    assert completion(logit_bias={"7": -100, "8": 0.5}).sampling_params().logit_bias == ((7, -100), (8, 0.5))


@pytest.mark.parametrize(
    "fields", ({"max_tokens": 5}, {"max_completion_tokens": 5}, {"max_tokens": 5, "max_completion_tokens": 5})
)
def test_both_names_of_the_limit_mean_the_same(fields: dict[str, int]) -> None:
    assert chat(**fields).sampling_params().max_tokens == 5


@pytest.mark.parametrize(
    ("options", "expected"),
    ((None, False), ({}, False), ({"include_usage": False}, False), ({"include_usage": True}, True)),
)
def test_usage_is_included_when_asked_for(options: Any, expected: bool) -> None:
    assert chat(stream=True, stream_options=options).includes_usage is expected


def test_logprobs_are_a_flag_in_chats_and_a_number_in_completions() -> None:
    assert chat(logprobs=False).sampling_params().logprobs is None
    assert chat(logprobs=True).sampling_params().logprobs == 0
    assert chat(logprobs=True, top_logprobs=20).sampling_params().logprobs == 20
    assert completion(logprobs=0).sampling_params().logprobs == 0
    assert chat(top_logprobs=0).sampling_params().logprobs is None
    with pytest.raises(InvalidRequestError, match="top_logprobs is allowed only with logprobs: true"):
        chat(top_logprobs=1).sampling_params()
    with pytest.raises(InvalidRequestError, match="top_logprobs: expected an integer <= 20"):
        chat(logprobs=True, top_logprobs=21)


@pytest.mark.parametrize("value", (0, -2))
def test_a_prompt_is_not_cut_to_nothing(value: int) -> None:
    assert chat(truncate_prompt_tokens=-1).sampling_params() == SamplingParams()
    with pytest.raises(InvalidRequestError, match="truncate_prompt_tokens"):
        chat(truncate_prompt_tokens=value).sampling_params()


def test_an_echo_needs_the_prompts_logprobs() -> None:
    assert completion(echo=True).sampling_params().prompt_logprobs is None
    assert completion(echo=True, logprobs=3).sampling_params().prompt_logprobs == 3
    assert completion(echo=True, logprobs=3, prompt_logprobs=5).sampling_params().prompt_logprobs == 5
    assert completion(logprobs=3).sampling_params().prompt_logprobs is None
    assert completion(echo=True, max_tokens=0).sampling_params().prompt_logprobs == 0
    with pytest.raises(InvalidRequestError, match="max_tokens is 0"):
        completion(max_tokens=0).sampling_params()
    with pytest.raises(InvalidRequestError, match="echo is allowed only without suffix"):
        completion(echo=True, suffix="x").sampling_params()


def test_more_candidates_than_choices_are_ranked() -> None:
    assert completion(best_of=3).sampling_params().logprobs == 0
    assert completion(best_of=3, logprobs=2).sampling_params().logprobs == 2
    assert completion(best_of=2, n=2, stream=True).sampling_params().logprobs is None
    for fields in ({"best_of": 1, "n": 2}, {"best_of": 0}, {"best_of": 2, "stream": True}):
        with pytest.raises(InvalidRequestError, match="best_of") as caught:
            completion(**fields).sampling_params()
        assert caught.value.param == "best_of"
