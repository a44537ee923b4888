import numpy as np
import pytest

from octavo.backends.reference.arithmetic import from_bf16, to_bf16
from octavo.backends.reference.attention import attend

RNG = np.random.default_rng(1)


def random_bf16(*shape: int) -> np.ndarray:
    return to_bf16(RNG.normal(size=shape).astype(np.float32))


@pytest.mark.parametrize("context", [1, 15, 16, 255, 256, 257, 530])
def test_equals_softmax_attention(context: int) -> None:
    rows = min(context, 3)
    query, keys, values = random_bf16(rows, 4, 16), random_bf16(context, 2, 16), random_bf16(context, 2, 16)
    ours = from_bf16(attend(query, keys, values, context - rows, 0.25)).reshape(rows, 4, 16)
    q, k, v = (from_bf16(x).astype(np.float64) for x in (query, keys, values))
    for row in range(rows):
        seen = context - rows + row + 1
        for head in range(4):
            scores = k[:seen, head // 2] @ q[row, head] * 0.25
            weights = np.exp(scores - scores.max())
            np.testing.assert_allclose(
                ours[row, head], weights @ v[:seen, head // 2] / weights.sum(), atol=0.02
            )


def test_a_row_does_not_depend_on_later_rows_or_on_the_chunk() -> None:
    query, keys, values = random_bf16(300, 2, 16), random_bf16(300, 1, 16), random_bf16(300, 1, 16)
    whole = attend(query, keys, values, 0, 0.25)
    for start, end in ((0, 1), (1, 17), (250, 260), (299, 300)):
        part = attend(query[start:end], keys[:end], values[:end], start, 0.25)
        np.testing.assert_array_equal(part, whole[start:end])
