import math

import pytest

from octavo.core.errors import InvalidRequestError
from octavo.core.sampling_params import MAX_STOP_STRING_LENGTH, MAX_STOP_STRINGS, SamplingParams


@pytest.mark.parametrize(
    ("field", "allowed", "refused"),
    [
        ("temperature", [0, 0.5, 2], [-0.1, 2.1, math.nan, math.inf]),
        ("top_k", [-1, 0, 1, 50], [-2, 2**31]),
        ("top_p", [0.01, 1], [0, 1.01, -1, math.nan]),
        ("min_p", [0, 1], [-0.1, 1.1, math.nan]),
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


def test_temperature_0_is_greedy():
    assert SamplingParams(temperature=0).is_greedy
    assert not SamplingParams(temperature=0.1).is_greedy
