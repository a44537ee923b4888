"""Causal attention of a request's rows over its context, exactly: pieces of 256 tokens, merged ascending."""

import numpy as np

from octavo.backends.reference.arithmetic import BF16, F32, LANES, exp, f32, f64, linear, to_bf16, tree
from octavo.core.block_hash import BLOCK_SIZE

PIECE = 256  # tokens, counted from position 0


def attend(query: BF16, keys: BF16, values: BF16, first_position: int, scale: float) -> BF16:
    """query [rows, heads, head_dim] from first_position on; keys, values [context, kv_heads, head_dim].

    Returns [rows, heads * head_dim]. A row sees the context up to its own position.
    """
    num_rows, num_heads, head_dim = query.shape
    num_kv_heads = keys.shape[1]
    group = num_heads // num_kv_heads
    out = np.empty((num_rows, num_heads, head_dim), np.uint16)
    for kv_head in range(num_kv_heads):
        heads = slice(kv_head * group, (kv_head + 1) * group)
        rows = query[:, heads].reshape(num_rows * group, head_dim)
        positions = np.repeat(np.arange(num_rows) + first_position, group)
        attended = _attend_head(rows, keys[:, kv_head], values[:, kv_head], positions, scale)
        out[:, heads] = attended.reshape(num_rows, group, head_dim)
    return out.reshape(num_rows, num_heads * head_dim)


def _attend_head(rows: BF16, keys: BF16, values: BF16, positions: np.ndarray, scale: float) -> BF16:
    context = -(-len(keys) // BLOCK_SIZE) * BLOCK_SIZE
    keys = np.pad(keys, ((0, context - len(keys)), (0, 0)))
    values = np.pad(values, ((0, context - len(values)), (0, 0)))
    best = np.zeros(len(rows), np.float32)
    total = np.zeros(len(rows), np.float32)
    out = np.zeros((len(rows), rows.shape[1]), np.float32)
    for start in range(0, context, PIECE):
        piece = slice(start, min(start + PIECE, context))
        sees = positions >= start
        m, length, o = _piece(rows[sees], keys[piece], values[piece], positions[sees] - start, scale)
        if start == 0:
            best[sees], total[sees], out[sees] = m, length, o
            continue
        merged = np.where(best[sees] > m, best[sees], m)
        keep, add = exp(f32(f64(best[sees]) - f64(merged))), exp(f32(f64(m) - f64(merged)))
        total[sees] = _weighted(total[sees], keep, length, add)
        out[sees] = _weighted(out[sees], keep[:, None], o, add[:, None])
        best[sees] = merged
    return to_bf16(f32(f64(out) / f64(total)[:, None]))


def _weighted(a: F32, wa: F32, b: F32, wb: F32) -> F32:
    return f32(f64(f32(f64(a) * f64(wa))) + f64(f32(f64(b) * f64(wb))))


def _piece(rows: BF16, keys: BF16, values: BF16, last: np.ndarray, scale: float) -> tuple[F32, F32, F32]:
    """Maximum, sum and weighted values of one piece; row r sees its first last[r] + 1 tokens."""
    scores = f32(f64(linear(rows, keys)) * f64(np.float32(scale)))
    visible = np.arange(len(keys)) <= last[:, None]
    m = np.where(visible, scores, -np.inf).max(axis=1).astype(np.float32)
    p = np.where(visible, to_bf16(exp(f32(f64(scores) - f64(m)[:, None]))), np.uint16(0))
    lanes = np.zeros((len(rows), LANES), np.float32)
    weights = (p.astype(np.uint32) << 16).view(np.float32)
    for start in range(0, len(keys), BLOCK_SIZE):
        lanes = f32(f64(lanes) + f64(weights[:, start : start + BLOCK_SIZE]))
    o = linear(p, np.ascontiguousarray(values.T), chunk=BLOCK_SIZE)
    return m, tree(lanes), f32(f64(o) + 0.0)  # + 0 turns -0 into +0, however many blocks were all masked
