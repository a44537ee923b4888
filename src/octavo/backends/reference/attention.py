"""Causal attention of a request's rows over its context, exactly: pieces of 256 tokens, merged ascending."""

import dataclasses

import numpy as np

from octavo.backends.reference.arithmetic import (
    BF16,
    F32,
    LANES,
    exp,
    f32,
    f64,
    from_bf16,
    linear,
    softcap,
    to_bf16,
    tree,
)
from octavo.backends.reference.quantize import QUERY_DIGITS, digit_products, quantize
from octavo.core.block_hash import BLOCK_SIZE

PIECE = 256  # tokens, counted from position 0


@dataclasses.dataclass(frozen=True, slots=True)
class Scoring:
    """From a query's product with a key to its score, and which keys it sees; 0 is no window, no cap."""

    scale: float
    window: int = 0
    softcap: float = 0.0

    def first_visible(self, positions: np.ndarray) -> np.ndarray:
        return np.maximum(positions - self.window + 1, 0) if self.window else np.zeros_like(positions)

    def scores(self, products: F32, units: F32 | np.float32) -> F32:
        """units: of the queries, which products are multiples of."""
        scale = f32(f64(units) * f64(np.float32(self.scale)))
        scaled = f32(f64(products) * f64(scale))
        return softcap(scaled, self.softcap) if self.softcap else scaled


def attend(query: BF16, keys: np.ndarray, values: np.ndarray, first_position: int, scoring: Scoring) -> BF16:
    """query [rows, heads, head_dim] from first_position on; keys, values [context, kv_heads, head_dim], or
    quantized [context, kv_heads, head_dim + 1].

    Returns [rows, heads * head_dim]. A row sees the context up to its own position, or a window of it.
    """
    num_rows, num_heads, head_dim = query.shape
    num_kv_heads = keys.shape[1]
    group = num_heads // num_kv_heads
    out = np.empty((num_rows, num_heads, head_dim), np.uint16)
    for kv_head in range(num_kv_heads):
        heads = slice(kv_head * group, (kv_head + 1) * group)
        rows = query[:, heads].reshape(num_rows * group, head_dim)
        positions = np.repeat(np.arange(num_rows) + first_position, group)
        attended = _attend_head(rows, keys[:, kv_head], values[:, kv_head], positions, scoring)
        out[:, heads] = attended.reshape(num_rows, group, head_dim)
    return out.reshape(num_rows, num_heads * head_dim)


def _attend_head(
    rows: BF16, keys: np.ndarray, values: np.ndarray, positions: np.ndarray, scoring: Scoring
) -> BF16:
    piece = bf16_piece if keys.dtype == np.uint16 else int8_piece
    context = -(-len(keys) // BLOCK_SIZE) * BLOCK_SIZE
    keys = np.pad(keys, ((0, context - len(keys)), (0, 0)))
    values = np.pad(values, ((0, context - len(values)), (0, 0)))
    first = scoring.first_visible(positions)
    best = np.zeros(len(rows), np.float32)
    total = np.zeros(len(rows), np.float32)
    out = np.zeros((len(rows), rows.shape[1]), np.float32)
    for start in range(0, context, PIECE):
        tokens = np.arange(start, min(start + PIECE, context))
        here = np.flatnonzero((positions >= start) & (first < start + PIECE))  # rows that see the piece
        if len(here) == 0:
            continue
        visible = (tokens <= positions[here, None]) & (tokens >= first[here, None])
        m, length, o = piece(rows[here], keys[tokens], values[tokens], visible, scoring)
        is_first = first[here] >= start  # of the row's pieces: taken as it is
        old = np.where(is_first, m, best[here])
        merged = np.where(old > m, old, m)
        keep, add = exp(f32(f64(old) - f64(merged))), exp(f32(f64(m) - f64(merged)))
        total[here] = np.where(is_first, length, _weighted(total[here], keep, length, add))
        merged_out = _weighted(out[here], keep[:, None], o, add[:, None])
        out[here] = np.where(is_first[:, None], o, merged_out)
        best[here] = merged
    return to_bf16(f32(f64(out) / f64(total)[:, None]))


def _weighted(a: F32, wa: F32, b: F32, wb: F32) -> F32:
    return f32(f64(f32(f64(a) * f64(wa))) + f64(f32(f64(b) * f64(wb))))


def bf16_piece(
    rows: BF16, keys: BF16, values: BF16, visible: np.ndarray, scoring: Scoring
) -> tuple[F32, F32, F32]:
    """Maximum, sum and weighted values of one piece; visible [rows, tokens]."""
    scores = scoring.scores(linear(rows, keys), np.float32(1))
    m = _largest_visible(scores, visible)
    p = np.where(visible, to_bf16(exp(f32(f64(scores) - f64(m)[:, None]))), np.uint16(0))
    length = _sum_of(from_bf16(p))
    o = linear(p, np.ascontiguousarray(values.T), chunk=BLOCK_SIZE)
    return m, length, f32(f64(o) + 0.0)  # + 0 turns -0 into +0, however many blocks were all masked


def int8_piece(
    rows: BF16, keys: F32, values: F32, visible: np.ndarray, scoring: Scoring
) -> tuple[F32, F32, F32]:
    """The same over quantized keys and values [tokens, head_dim + 1]."""
    digits, units = quantize(from_bf16(rows), QUERY_DIGITS)
    with np.errstate(invalid="ignore"):  # infinite units of rows that are not finite
        products = f32(f64(digit_products(digits, keys[:, :-1])) * f64(keys[:, -1]))
        scores = scoring.scores(products, units[:, None])
        m = _largest_visible(scores, visible)
        p = np.where(visible, exp(f32(f64(scores) - f64(m)[:, None])), np.float32(0))
        weights = np.where(p > 0, f32(f64(p) * f64(values[:, -1])), np.float32(0))
        digits, units = quantize(weights, QUERY_DIGITS)
        o = f32(f64(digit_products(digits, values[:, :-1].T)) * f64(units)[:, None])
    return m, _sum_of(p), f32(f64(o) + 0.0)


def _largest_visible(scores: F32, visible: np.ndarray) -> F32:
    largest: F32 = np.where(visible, scores, -np.inf).max(axis=1).astype(np.float32)
    return largest


def _sum_of(weights: F32) -> F32:
    """Of each row: lane by lane over its blocks, then a tree."""
    lanes = np.zeros((len(weights), LANES), np.float32)
    for start in range(0, weights.shape[1], BLOCK_SIZE):
        lanes = f32(f64(lanes) + f64(weights[:, start : start + BLOCK_SIZE]))
    return tree(lanes)
