import numpy as np
import pytest

from octavo.backends.reference.arithmetic import from_bf16, to_bf16
from octavo.backends.reference.attention import Scoring, attend
from octavo.backends.reference.quantize import quantized_row

RNG = np.random.default_rng(1)


def random_bf16(*shape: int) -> np.ndarray:
    return to_bf16(RNG.normal(size=shape).astype(np.float32))


@pytest.mark.parametrize("context", [1, 15, 16, 255, 256, 257, 530])
@pytest.mark.parametrize("window", [0, 1, 40, 300])
@pytest.mark.parametrize("softcap", [0.0, 5.0])
def test_equals_softmax_attention(context: int, window: int, softcap: float) -> None:
    rows = min(context, 3)
    query, keys, values = random_bf16(rows, 4, 16), random_bf16(context, 2, 16), random_bf16(context, 2, 16)
    ours = from_bf16(attend(query, keys, values, context - rows, Scoring(0.25, window, softcap))).reshape(
        rows, 4, 16
    )
    q, k, v = (from_bf16(x).astype(np.float64) for x in (query, keys, values))
    for row in range(rows):
        end = context - rows + row + 1
        seen = slice(max(0, end - window) if window else 0, end)
        for head in range(4):
            scores = k[seen, head // 2] @ q[row, head] * 0.25
            scores = softcap * np.tanh(scores / softcap) if softcap else scores
            weights = np.exp(scores - scores.max())
            np.testing.assert_allclose(
                ours[row, head], weights @ v[seen, head // 2] / weights.sum(), atol=0.02
            )


def quantized(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of an int8 cache, and the numbers they stand for."""
    rows = quantized_row(RNG.normal(size=shape).astype(np.float32))
    return rows, rows[..., :-1].astype(np.float64) * rows[..., -1:]


@pytest.mark.parametrize("context", [1, 16, 257, 530])
@pytest.mark.parametrize("window", [0, 40])
@pytest.mark.parametrize("softcap", [0.0, 5.0])
def test_int8_equals_softmax_attention_over_the_quantized_values(
    context: int, window: int, softcap: float
) -> None:
    """Closely: queries and weights keep 15 bits of their largest."""
    query = random_bf16(1, 4, 16)
    (keys, k), (values, v) = quantized(context, 2, 16), quantized(context, 2, 16)
    ours = from_bf16(attend(query, keys, values, context - 1, Scoring(0.25, window, softcap))).reshape(4, 16)
    seen = slice(max(0, context - window) if window else 0, context)
    for head in range(4):
        scores = k[seen, head // 2] @ from_bf16(query[0, head]).astype(np.float64) * 0.25
        scores = softcap * np.tanh(scores / softcap) if softcap else scores
        weights = np.exp(scores - scores.max())
        exact = weights @ v[seen, head // 2] / weights.sum()
        np.testing.assert_allclose(ours[head], exact, rtol=0.005, atol=0.001)


def test_a_row_of_int8_does_not_depend_on_later_rows_or_on_the_chunk() -> None:
    query, (keys, _), (values, _) = random_bf16(300, 2, 16), quantized(300, 1, 16), quantized(300, 1, 16)
    whole = attend(query, keys, values, 0, Scoring(0.25))
    for start, end in ((0, 1), (1, 17), (250, 260), (299, 300)):
        part = attend(query[start:end], keys[:end], values[:end], start, Scoring(0.25))
        np.testing.assert_array_equal(part, whole[start:end])


def test_what_is_not_finite_shows_in_rows_that_see_it_and_in_no_other() -> None:
    query, (keys, _), (values, _) = random_bf16(20, 1, 16), quantized(20, 1, 16), quantized(20, 1, 16)
    clean = attend(query, keys, values, 0, Scoring(0.25))
    values[10, 0, :-1], values[10, 0, -1] = 0, np.inf
    spoilt = attend(query, keys, values, 0, Scoring(0.25))
    np.testing.assert_array_equal(spoilt[:10], clean[:10])
    assert not np.isfinite(from_bf16(spoilt[10:])).any()


def test_a_row_does_not_depend_on_later_rows_or_on_the_chunk() -> None:
    query, keys, values = random_bf16(300, 2, 16), random_bf16(300, 1, 16), random_bf16(300, 1, 16)
    whole = attend(query, keys, values, 0, Scoring(0.25))
    for start, end in ((0, 1), (1, 17), (250, 260), (299, 300)):
        part = attend(query[start:end], keys[:end], values[:end], start, Scoring(0.25))
        np.testing.assert_array_equal(part, whole[start:end])


def test_a_window_does_not_look_at_what_lies_before_it() -> None:
    query, keys, values = random_bf16(2, 2, 16), random_bf16(600, 1, 16), random_bf16(600, 1, 16)
    scoring = Scoring(0.25, window=50)
    whole = attend(query, keys, values, 598, scoring)
    keys[:549], values[:549] = 0x4120, 0x4120  # 10.0 in every token outside
    np.testing.assert_array_equal(attend(query, keys, values, 598, scoring), whole)
