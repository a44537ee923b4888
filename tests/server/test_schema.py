"""Bodies become requests; what shape they must have is told in a sentence."""

from typing import Any

import msgspec
import pytest

from octavo.core.errors import InvalidRequestError
from octavo.core.sampling_params import SamplingParams
from octavo.server.schema import BodyDecoder, ChatRequest, CompletionRequest

MESSAGES = [{"role": "user", "content": "hi"}]


def chat(**fields: Any) -> ChatRequest:
    body = msgspec.json.encode({"model": "m", "messages": MESSAGES, **fields})
    return BodyDecoder(ChatRequest).decode(body)


def completion(**fields: Any) -> CompletionRequest:
    body = msgspec.json.encode({"model": "m", "prompt": "p", **fields})
    return BodyDecoder(CompletionRequest).decode(body)


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
    )
    nothing = dict.fromkeys((*names, "stream", "stream_options", "max_completion_tokens"))
    assert chat().sampling_params() == chat(**nothing).sampling_params() == SamplingParams()


def test_every_sampling_field_is_taken() -> None:
    fields = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "min_p": 0.1,
        "seed": -3,
        "max_tokens": 9,
        "min_tokens": 2,
        "ignore_eos": True,
    }
    assert completion(stop=["a", "b"], **fields).sampling_params() == SamplingParams(
        stop=("a", "b"), **fields
    )  # type: ignore[arg-type]
    assert completion(stop="a").sampling_params().stop == ("a",)


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


def test_parts_become_one_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": parts}]
    expected = [{"role": "system", "content": "s"}, {"role": "user", "content": "ab"}]
    assert chat(messages=messages).conversation() == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    (
        ({"n": 2}, "n is not supported. No field is ignored: leave it out."),
        ({"model": 1}, "model: expected `str`, got `int`."),
        ({"messages": [{"content": "a"}]}, "messages[0].role is missing."),
        ({"temperature": "hot"}, "temperature: expected `float | null`, got `str`."),
    ),
)
def test_the_sentence_names_the_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        chat(**fields)
    assert str(caught.value) == message


def test_a_long_field_name_is_not_repeated() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        chat(**{"x" * 10_000: 1})
    assert len(str(caught.value)) < 200 and len(caught.value.param or "") < 100


@pytest.mark.parametrize(
    ("body", "field"),
    (
        ('{"model":"m","messages":[],"max_tokens":1,"max_tokens":2}', "max_tokens"),
        ('{"model":"m","messages":[],"model":"m"}', "model"),
        ('{"model":"m","messages":[],"mod\\u0065l":"m"}', "model"),
        ('{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}', "content"),
        (
            '{"model":"m","messages":[],"stream_options":{"include_usage":true,"include_usage":false}}',
            "include_usage",
        ),
    ),
)
def test_no_field_may_be_given_twice(body: str, field: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"{field} is given twice") as caught:
        BodyDecoder(ChatRequest).decode(body.encode())
    assert caught.value.param == field
