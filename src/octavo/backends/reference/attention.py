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
    linear,
    softcap,
    to_bf16,
    tree,
)
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

    def scores(self, products: F32) -> F32:
        scaled = f32(f64(products) * f64(np.float32(self.scale)))
        return softcap(scaled, self.softcap) if self.softcap else scaled


def attend(query: BF16, keys: BF16, values: BF16, first_position: int, scoring: Scoring) -> BF16:
    """query [rows, heads, head_dim] from first_position on; keys, values [context, kv_heads, head_dim].

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


def _attend_head(rows: BF16, keys: BF16, values: BF16, positions: np.ndarray, scoring: Scoring) -> BF16:
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
        m, length, o = _piece(rows[here], keys[tokens], values[tokens], visible, scoring)
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


def _piece(
    rows: BF16, keys: BF16, values: BF16, visible: np.ndarray, scoring: Scoring
) -> tuple[F32, F32, F32]:
    """Maximum, sum and weighted values of one piece; visible [rows, tokens]."""
    scores = scoring.scores(linear(rows, keys))
    m = np.where(visible, scores, -np.inf).max(axis=1).astype(np.float32)
    p = np.where(visible, to_bf16(exp(f32(f64(scores) - f64(m)[:, None]))), np.uint16(0))
    lanes = np.zeros((len(rows), LANES), np.float32)
    weights = (p.astype(np.uint32) << 16).view(np.float32)
    for start in range(0, len(keys), BLOCK_SIZE):
        lanes = f32(f64(lanes) + f64(weights[:, start : start + BLOCK_SIZE]))
    o = linear(p, np.ascontiguousarray(values.T), chunk=BLOCK_SIZE)
    return m, tree(lanes), f32(f64(o) + 0.0)  # + 0 turns -0 into +0, however many blocks were all masked
