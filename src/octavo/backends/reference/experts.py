"""Mixtures of experts, exactly: which experts a row goes to, and what of their results it takes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octavo.backends.reference.arithmetic import F32, LANES, exp, f32, f64, tree


def route(logits: F32, top_k: int, is_normalized: bool) -> F32:
    """[rows, top_k expert numbers | top_k weights]; the largest logit first, ties to the lowest number.

    A weight is e^(logit - largest) over the sum of all experts', 16 lanes and a tree, or of the chosen, in
    their order.
    """
    chosen = np.argsort(-logits, axis=1, kind="stable")[:, :top_k]
    largest = np.take_along_axis(logits, chosen[:, :1], axis=1)
    powers = exp(f32(f64(logits) - f64(largest)))
    picked = np.take_along_axis(powers, chosen, axis=1)
    if is_normalized:
        total = picked[:, 0]
        for rank in range(1, top_k):
            total = f32(f64(total) + f64(picked[:, rank]))
    else:
        padded = np.pad(powers, ((0, 0), (0, -powers.shape[1] % LANES)))
        lanes = np.zeros((len(logits), LANES), np.float32)
        for start in range(0, padded.shape[1], LANES):
            lanes = f32(f64(lanes) + f64(padded[:, start : start + LANES]))
        total = tree(lanes)
    return np.concatenate([chosen.astype(np.float32), f32(f64(picked) / f64(total)[:, None])], axis=1)


def dispatch_order(routes: F32) -> np.ndarray:
    """Of (row, rank) pairs, numbered row by row: by expert, then by row."""
    return np.argsort(experts_of(routes), kind="stable")


def experts_of(routes: F32) -> np.ndarray:
    """The expert of every (row, rank) pair."""
    return routes[:, : routes.shape[1] // 2].astype(np.int64).reshape(-1)


def expert_linear(
    inputs: Sequence[NDArray[Any]],
    experts: np.ndarray,
    product: Callable[[int, list[NDArray[Any]]], F32],
) -> F32:
    """Row i of the inputs by the product with the weights of experts[i], which ascend."""
    pieces = [
        product(expert, [x[experts == expert] for x in inputs]) for expert in np.unique(experts).tolist()
    ]
    return np.concatenate(pieces) if pieces else product(0, list(inputs))


def combine(old: F32, outputs: F32, routes: F32, scale: float) -> F32:
    """old + scale * (sum of weight * output in the order of the routes); outputs as they were dispatched."""
    num_rows, top_k = len(routes), routes.shape[1] // 2
    by_pair = np.empty_like(outputs)
    by_pair[dispatch_order(routes)] = outputs
    weighted = f32(f64(by_pair) * f64(routes[:, top_k:].reshape(-1, 1))).reshape(num_rows, top_k, -1)
    total = weighted[:, 0]
    for rank in range(1, top_k):
        total = f32(f64(total) + f64(weighted[:, rank]))
    return f32(f64(old) + f64(f32(f64(total) * f64(np.float32(scale)))))
