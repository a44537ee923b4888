import re
from typing import Any

import pytest

from octavo.core.errors import InvalidRequestError
from octavo.core.sampling_params import SamplingParams
from octavo.server.bounds import MAX_LOGPROBS_TOLD, MAX_TOKEN_IDS, check_bounds

PROMPT = [1] * 99


def check(num_choices: int, **fields: Any) -> None:
    check_bounds([(PROMPT, SamplingParams(**fields))] * num_choices)


def test_token_ids_of_all_choices_together() -> None:
    allowed = tuple(range(MAX_TOKEN_IDS // 64))
    check(64, allowed_token_ids=allowed)
    with pytest.raises(InvalidRequestError, match=f"choices hold .* allowed: {MAX_TOKEN_IDS}") as refused:
        check(64, allowed_token_ids=(*allowed, 99_999), stop_token_ids=(1,))
    assert refused.value.param == "allowed_token_ids"


def test_the_fullest_field_is_named_as_the_client_does() -> None:
    words = tuple((number,) * 32 for number in range(1024))
    check(32, bad_words_token_ids=words)
    with pytest.raises(InvalidRequestError) as refused:
        check(33, bad_words_token_ids=words)
    assert refused.value.param == "bad_words"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"logprobs": 3, "max_tokens": MAX_LOGPROBS_TOLD // 16 // 4}, "logprobs"),
        ({"prompt_logprobs": 15, "max_tokens": 1}, "prompt_logprobs"),
        ({"prompt_logprobs": 3, "logprobs": 1, "max_tokens": MAX_LOGPROBS_TOLD // 32 - 198}, "logprobs"),
    ],
)
def test_log_probabilities_of_all_choices_together(fields: dict[str, Any], param: str) -> None:
    of_prompt = len(PROMPT) * 16 * (fields.get("prompt_logprobs", 0) == 15)
    num_choices = MAX_LOGPROBS_TOLD // of_prompt if of_prompt else 16
    check(num_choices, **fields)
    with pytest.raises(InvalidRequestError, match=re.escape(f"allowed: {MAX_LOGPROBS_TOLD}.")) as refused:
        check(num_choices + 1, **fields)
    assert refused.value.param == param


def test_who_asks_for_none_has_no_such_limit() -> None:
    check(128, max_tokens=2**31 - 1)
