import numpy as np
import pytest

from octavo.backends.reference.arithmetic import from_bf16, linear, to_bf16
from octavo.backends.reference.experts import combine, dispatch_order, expert_linear, experts_of, route

RNG = np.random.default_rng(1)


@pytest.mark.parametrize("num_experts", [5, 16, 20])
@pytest.mark.parametrize("is_normalized", [True, False])
def test_routes_are_the_largest_of_a_softmax(num_experts: int, is_normalized: bool) -> None:
    logits = RNG.normal(size=(7, num_experts)).astype(np.float32)
    routes = route(logits, 3, is_normalized)
    chosen = np.argsort(-logits, axis=1)[:, :3]
    np.testing.assert_array_equal(routes[:, :3], chosen)
    powers = np.exp(logits.astype(np.float64))
    picked = np.take_along_axis(powers, chosen, axis=1)
    total = (picked if is_normalized else powers).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(routes[:, 3:], picked / total, rtol=1e-5)


def test_ties_go_to_the_lowest_number() -> None:
    logits = np.array([[1.0, 2.0, 2.0, 1.0]], np.float32)
    np.testing.assert_array_equal(route(logits, 3, True)[:, :3], [[1, 2, 0]])


def test_rows_come_back_from_their_experts() -> None:
    """In whatever company: each row as it would be alone."""
    x = to_bf16(RNG.normal(size=(6, 32)).astype(np.float32))
    weights = [to_bf16(RNG.normal(size=(8, 32)).astype(np.float32)) for _ in range(5)]
    old = RNG.normal(size=(6, 8)).astype(np.float32)
    routes = route(RNG.normal(size=(6, 5)).astype(np.float32), 2, True)

    def mixed(rows: slice) -> np.ndarray:
        order = dispatch_order(routes[rows])
        experts = np.sort(experts_of(routes[rows]))
        outputs = expert_linear([x[rows][order // 2]], experts, lambda i, of: linear(of[0], weights[i]))
        return combine(old[rows], outputs, routes[rows], 0.5)

    whole = mixed(slice(None))
    for row in range(6):
        np.testing.assert_array_equal(mixed(slice(row, row + 1))[0], whole[row])
        expected = old[row] + 0.5 * sum(
            routes[row, 2 + rank] * (from_bf16(weights[int(routes[row, rank])]) @ from_bf16(x[row]))
            for rank in range(2)
        )
        np.testing.assert_allclose(whole[row], expected, rtol=1e-4, atol=1e-4)
