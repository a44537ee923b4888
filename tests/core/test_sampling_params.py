import math

import pytest

from octavo.core.errors import InvalidRequestError
from octavo.core.sampling_params import (
    MAX_BAD_WORD_TOKENS,
    MAX_BAD_WORDS,
    MAX_LOGIT_BIAS,
    MAX_LOGPROBS,
    MAX_STOP_STRING_LENGTH,
    MAX_STOP_STRINGS,
    SamplingParams,
)


@pytest.mark.parametrize(
    ("field", "allowed", "refused"),
    [
        ("temperature", [0, 0.5, 2], [-0.1, 2.1, math.nan, math.inf]),
        ("top_k", [-1, 0, 1, 50], [-2, 2**31]),
        ("top_p", [0.01, 1], [0, 1.01, -1, math.nan]),
        ("min_p", [0, 1], [-0.1, 1.1, math.nan]),
        ("repetition_penalty", [0.01, 1, 100], [0, 1e-45, 0.009, -1, 100.5, math.nan]),
        ("presence_penalty", [-2, 0, 2], [-2.1, 2.1, math.nan]),
        ("frequency_penalty", [-2, 0, 2], [-2.1, 2.1, math.inf]),
        ("logit_bias", [(), ((1, -100), (2, 100))], [((1, 101),), ((1, math.nan),), ((1, 2), (1, 3))]),
        ("logit_bias", [], [tuple((i, 1) for i in range(MAX_LOGIT_BIAS + 1))]),
        ("allowed_token_ids", [None, (1,)], [()]),
        ("bad_words_token_ids", [(), ((1,), (2, 3))], [((),), ((1,) * (MAX_BAD_WORD_TOKENS + 1),)]),
        ("bad_words_token_ids", [], [((1,),) * (MAX_BAD_WORDS + 1)]),
        ("logprobs", [None, 0, MAX_LOGPROBS], [-1, MAX_LOGPROBS + 1]),
        ("prompt_logprobs", [None, 0, MAX_LOGPROBS], [-1, MAX_LOGPROBS + 1]),
        ("seed", [None, 0, -1, 2**63 - 1], [2**63]),
        ("max_tokens", [None, 1], [0, -1, 2**31]),
        ("min_tokens", [0, 7], [-1]),
        ("stop", [(), ("x",) * MAX_STOP_STRINGS], [("x",) * (MAX_STOP_STRINGS + 1), ("",)]),
        ("stop", [("x" * MAX_STOP_STRING_LENGTH,)], [("x" * (MAX_STOP_STRING_LENGTH + 1),)]),
    ],
)
def test_limits(field, allowed, refused):
    for value in allowed:
        assert getattr(SamplingParams(**{field: value}), field) == value
    for value in refused:
        with pytest.raises(InvalidRequestError, match=f"^{field} is .*allowed: ") as caught:
            SamplingParams(**{field: value})
        assert caught.value.param == field


def test_min_tokens_cannot_exceed_max_tokens():
    SamplingParams(max_tokens=5, min_tokens=5)
    with pytest.raises(InvalidRequestError, match="min_tokens"):
        SamplingParams(max_tokens=5, min_tokens=6)


def test_no_token_only_to_score_the_prompt():
    assert SamplingParams(max_tokens=0, prompt_logprobs=0).max_tokens == 0
    with pytest.raises(InvalidRequestError, match="max_tokens is 0; allowed: 1 or more"):
        SamplingParams(max_tokens=0, logprobs=0)


def test_every_token_id_is_named_with_its_field():
    params = SamplingParams(
        stop_token_ids=(1,),
        logit_bias=((2, 1.0),),
        allowed_token_ids=(3, 4),
        bad_words_token_ids=((5, 6), (7,)),
    )
    assert {field: list(ids) for field, ids in params.token_ids_by_field()} == {
        "stop_token_ids": [1],
        "logit_bias": [2],
        "allowed_token_ids": [3, 4],
        "bad_words_token_ids": [5, 6, 7],
    }


def test_temperature_0_is_greedy():
    assert SamplingParams(temperature=0).is_greedy
    assert SamplingParams(temperature=1e-7).is_greedy
    assert not SamplingParams(temperature=1e-5).is_greedy


def test_a_text_is_not_taken_for_the_list_of_its_letters():
    with pytest.raises(InvalidRequestError, match="stop is 'end'; allowed: a sequence of strings"):
        SamplingParams(stop="end")
