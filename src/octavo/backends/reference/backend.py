"""The reference back end: interprets a program in the exact arithmetic, one op at a time. Slow, and the
specification.

Runs in the engine process (or a test). Expands every weight to bf16 at load; keeps KV as plain arrays.
"""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from octavo.backends.base import StepLimits, draft_of, empty_logprobs, pooled_status
from octavo.backends.reference.arithmetic import (
    BF16,
    F32,
    U32,
    f32,
    f64,
    from_bf16,
    gelu_tanh,
    linear,
    rms_norm,
    silu,
    softcap,
    to_bf16,
)
from octavo.backends.reference.attention import Scoring, attend
from octavo.backends.reference.experts import combine, dispatch_order, expert_linear, experts_of, route
from octavo.backends.reference.logits import adjust, score
from octavo.backends.reference.quantize import int8_linear, quantized_groups, quantized_row
from octavo.backends.reference.sampling import sample
from octavo.backends.reference.tables import rope_table
from octavo.core.block_hash import BLOCK_SIZE
from octavo.core.kv_dtype import KVDType
from octavo.core.step import (
    LAST_SAMPLED,
    NO_LOGPROBS,
    NO_MASK,
    Admission,
    CopyKind,
    Masks,
    OutputKind,
    RowStatus,
    StepInput,
    StepLogprobs,
    StepOutput,
    Ticket,
)
from octavo.models.ops import OpKind
from octavo.models.program import DType, KVGroup, Op, Program, RopeTable, Rows, Weight
from octavo.weights.formats import Integers, Tensor, expand_to_bf16, expand_to_f32, integers_of


@dataclasses.dataclass(slots=True)
class _Slot:
    admission: Admission
    block_tables: list[list[int]]  # one per KV group
    token_ids: list[int]  # prompt and output


@dataclasses.dataclass(slots=True)
class _Rows:
    """What the ops of one step read: rows [begin, end) of each request, its slot and first position."""

    requests: list[tuple[int, int, _Slot, int]]
    token_ids: np.ndarray  # [T]
    positions: np.ndarray  # [T]
    output_row: np.ndarray  # [S]


class ReferenceBackend:
    """tensors: part name in the program -> Tensor; matrices are held expanded to bf16, vectors as float32."""

    def __init__(
        self,
        program: Program,
        tensors: Mapping[str, Tensor],
        limits: StepLimits,
        num_blocks: int,
        num_checkpoint_blocks: int = 0,
    ) -> None:
        self._program = program
        self._weights: dict[str, Any] = {weight.name: _expand(weight, tensors) for weight in program.weights}
        self._integers = _integers(program, tensors)
        self._rope_tables = [self._rope_table(table, limits.max_model_len) for table in program.rope_tables]
        self._blocks = [_empty_blocks(num_blocks, group) for group in program.kv_groups]
        self._tier = [_empty_blocks(num_checkpoint_blocks, group) for group in program.kv_groups]
        self._slots: dict[int, _Slot] = {}
        self._pending: StepInput | None = None
        self._started = 0.0
        self.buffers: dict[str, np.ndarray] = {}  # of the last step, for inspection

    def _rope_table(self, table: RopeTable, num_positions: int) -> tuple[F32, F32]:
        frequencies = np.array(table.frequencies)
        if table.factors is not None:
            frequencies = frequencies / f64(self._weights[table.factors])
        return rope_table(num_positions, frequencies, table.attention_factor)

    def submit(self, step: StepInput) -> Ticket:
        self._started = time.perf_counter()
        self._apply_changes(step)
        rows = self._rows(step)
        for op in self._program.ops:
            self._run(op, rows)
        self._pending = step
        return Ticket(step.step_id)

    def collect(self, ticket: Ticket, masks: Masks | None = None) -> StepOutput:
        assert self._pending is not None and self._pending.step_id == ticket.step_id
        step = self._pending
        logits = self.buffers[Program.logits]
        num_outputs = len(step.output_row)
        tokens, status = np.zeros(num_outputs, np.int32), np.zeros(num_outputs, np.int32)
        logprobs = empty_logprobs(step)
        for i, kind in enumerate(step.output_kind.tolist()):
            if kind == OutputKind.POOL:
                continue
            draft = draft_of(step, i) if kind == OutputKind.SAMPLE else None
            if draft is not None and (status[i - 1] != RowStatus.OK or tokens[i - 1] != draft):
                status[i] = RowStatus.NOT_SAMPLED
                continue
            if not np.isfinite(logits[i]).all():
                status[i] = RowStatus.NOT_FINITE if draft is None else RowStatus.NOT_SAMPLED
                continue
            token: int | None = int(step.target[i])
            if kind == OutputKind.SAMPLE:
                mask = masks[step.mask_row[i]] if masks is not None and step.mask_row[i] != NO_MASK else None
                token = self._sample(logits[i], self._slots[int(step.output_slot[i])], mask)
            if token is None:
                status[i] = RowStatus.NO_TOKEN if draft is None else RowStatus.NOT_SAMPLED
                continue
            tokens[i] = token
            if logprobs is not None and step.num_logprobs[i] != NO_LOGPROBS:
                _store(logprobs, i, score(logits[i], token, int(step.num_logprobs[i])))
        self._pending = None
        seconds = time.perf_counter() - self._started
        is_pooled = step.output_kind == OutputKind.POOL
        pooled = from_bf16(self._last_hidden()[is_pooled]) if is_pooled.any() else None
        if pooled is not None:
            status[is_pooled] = pooled_status(pooled)
        return StepOutput(step.step_id, tokens, status, seconds, logprobs, pooled)

    def close(self) -> None:
        self._slots.clear()

    def _sample(self, logits: F32, slot: _Slot, mask: U32 | None) -> int | None:
        """None when nothing may be sampled."""
        admission, position = slot.admission, len(slot.token_ids)
        adjusted = adjust(logits, admission, slot.token_ids, mask)
        if not (adjusted > -np.inf).any():
            return None
        token = sample(adjusted, admission.sampling, admission.seed, admission.branch, position)
        slot.token_ids.append(token)
        return token

    def _last_hidden(self) -> BF16:
        """What the head reads: the rows after the final norm."""
        head = next(op for op in self._program.ops if op.output == Program.logits)
        rows: BF16 = self.buffers[head.inputs[0]]
        return rows

    def _apply_changes(self, step: StepInput) -> None:
        for slot in step.released:
            del self._slots[int(slot)]
        for admission in step.admitted:
            self._slots[admission.slot] = _Slot(
                admission, [[] for _ in self._blocks], admission.token_ids.tolist()
            )
        self._copy(step, CopyKind.BLOCK_TO_TIER)
        self._copy(step, CopyKind.BLOCK_TO_BLOCK)
        num_computed = dict(zip(step.slot.tolist(), step.num_computed.tolist(), strict=True))
        for slot, group, index, block in step.new_blocks.tolist():
            table = self._slots[slot].block_tables[group]
            table += [-1] * (index - len(table))  # a prefix hit, without what lies behind the window
            assert index == len(table)
            table.append(block)
            if index * BLOCK_SIZE >= num_computed[slot]:
                self._blocks[group][block] = 0
        self._copy(step, CopyKind.TIER_TO_BLOCK)

    def _copy(self, step: StepInput, kind: CopyKind) -> None:
        for copy_kind, source, destination in step.copies.tolist():
            if copy_kind == kind:
                for blocks, tier in zip(self._blocks, self._tier, strict=True):
                    target = tier if kind is CopyKind.BLOCK_TO_TIER else blocks
                    target[destination] = (tier if kind is CopyKind.TIER_TO_BLOCK else blocks)[source]

    def _rows(self, step: StepInput) -> _Rows:
        token_ids = step.token_ids.copy()
        positions = np.empty(step.num_tokens, np.int64)
        requests = []
        for r, slot_id in enumerate(step.slot.tolist()):
            begin, end = int(step.query_start[r]), int(step.query_start[r + 1])
            slot, first = self._slots[slot_id], int(step.num_computed[r])
            positions[begin:end] = np.arange(first, first + end - begin)
            token_ids[begin:end][token_ids[begin:end] == LAST_SAMPLED] = slot.token_ids[-1]
            requests.append((begin, end, slot, first))
        return _Rows(requests, token_ids, positions, step.output_row)

    def _run(self, op: Op, rows: _Rows) -> None:
        inputs = [self.buffers[name] for name in op.inputs]
        weight = self._weights[op.weight] if op.weight else None
        result = self._compute(op, inputs, weight, rows)
        if op.output is None:
            return
        buffer = self._program.buffer(op.output)
        num_rows = len(rows.token_ids) if buffer.rows is Rows.TOKENS else len(rows.output_row)
        assert len(result) == num_rows * buffer.rows_per_token
        assert buffer.dtype is DType.DIGITS or result.shape[1] == buffer.width
        is_rounded = result.dtype == np.uint16 or buffer.dtype is not DType.BF16
        self.buffers[op.output] = result if is_rounded else to_bf16(result)

    def _compute(self, op: Op, inputs: list[Any], weight: Any, rows: _Rows) -> Any:
        attrs: Any = op.attrs
        match op.kind:
            case OpKind.EMBED:
                return f32(f64(from_bf16(weight[rows.token_ids])) * f64(np.float32(attrs.scale)))
            case OpKind.NORM:
                return self._norm(op, inputs[0], weight, attrs)
            case OpKind.LINEAR:
                return self._linear(op, inputs, attrs)
            case OpKind.ROPE:
                return self._rotate(inputs[0], attrs, rows)
            case OpKind.KV_WRITE:
                return self._write_kv(inputs[0], attrs, rows)
            case OpKind.ATTENTION:
                return self._attend(inputs[0], attrs, rows)
            case OpKind.ACT_MUL:
                gate, up = inputs[0][:, : attrs.width], inputs[0][:, attrs.width :]
                return f32(f64(gelu_tanh(gate) if attrs.is_gelu else silu(gate)) * f64(up))
            case OpKind.GATHER:
                return inputs[0][rows.output_row]
            case OpKind.SCALE:
                scaled = f32(f64(inputs[0]) * f64(np.float32(attrs.scale)))
                return softcap(scaled, attrs.softcap) if attrs.softcap else scaled
            case OpKind.ROUTE:
                return route(inputs[0], attrs.top_k, bool(attrs.is_normalized))
            case OpKind.DISPATCH:
                return inputs[0][dispatch_order(inputs[1]) // attrs.top_k]
            case OpKind.EXPERT_LINEAR:
                return self._expert_linear(op, inputs)
            case OpKind.COMBINE:
                return combine(self.buffers[op.output or ""], inputs[0], inputs[1], attrs.scale)
            case OpKind.QUANTIZE:
                return quantized_groups(inputs[0])

    def _norm(self, op: Op, x: F32, weight: F32, attrs: Any) -> F32:
        end = attrs.first_column + attrs.num_groups * attrs.width
        groups = x[:, attrs.first_column : end].reshape(-1, attrs.width)
        normed = rms_norm(groups, weight, attrs.epsilon).reshape(len(x), end - attrs.first_column)
        old = self.buffers.get(op.output or "")
        if attrs.has_residual:
            assert old is not None
            normed = f32(f64(old) + f64(normed))
        if normed.shape == x.shape:
            return normed
        result = x.copy()  # in place: the other columns keep their values
        result[:, attrs.first_column : end] = normed
        return result

    def _linear(self, op: Op, inputs: list[Any], attrs: Any) -> F32:
        y = self._product(op.weight or "", inputs)
        if op.bias is not None:
            y = f32(f64(y) + f64(self._weights[op.bias]))
        if attrs.scale != 1.0:
            y = f32(f64(y) * f64(np.float32(attrs.scale)))
        return f32(f64(self.buffers[op.output or ""]) + f64(y)) if attrs.has_residual else y

    def _expert_linear(self, op: Op, inputs: list[Any]) -> F32:
        names = [weight.name for weight in self._program.weights]
        first = names.index(op.weight or "")
        experts = np.sort(experts_of(self.buffers["routes"]))
        return expert_linear(inputs, experts, lambda expert, rows: self._product(names[first + expert], rows))

    def _product(self, name: str, inputs: list[Any]) -> F32:
        """x W^T of one weight: by digits of x where there are any and the weight's part is integers."""
        if len(inputs) == 1:
            return linear(inputs[0], self._weights[name])
        x, digits = inputs
        parts, row = [], 0
        for integers, (_, num_rows) in zip(
            self._integers[name], self._program.weight(name).parts, strict=True
        ):
            expanded = self._weights[name][row : row + num_rows]
            parts.append(linear(x, expanded) if integers is None else int8_linear(digits, integers))
            row += num_rows
        return np.concatenate(parts, axis=1)

    def _rotate(self, qkv: F32, attrs: Any, rows: _Rows) -> F32:
        num_rotated = attrs.num_heads + attrs.num_kv_heads
        heads = qkv[:, : num_rotated * attrs.head_dim].reshape(len(qkv), num_rotated, attrs.head_dim)
        dim, half = attrs.rotary_dim, attrs.rotary_dim // 2
        if dim == 0:
            return qkv
        pairs = (
            (slice(0, dim, 2), slice(1, dim, 2))
            if attrs.is_interleaved
            else (slice(0, half), slice(half, dim))
        )
        cos, sin = (f64(table[rows.positions])[:, None, :] for table in self._rope_tables[attrs.table])
        a, b = f64(heads[..., pairs[0]]), f64(heads[..., pairs[1]])
        out = heads.copy()
        out[..., pairs[0]] = f32(f64(f32(a * cos)) - f64(f32(b * sin)))
        out[..., pairs[1]] = f32(f64(f32(b * cos)) + f64(f32(a * sin)))
        return np.concatenate([out.reshape(len(qkv), -1), qkv[:, num_rotated * attrs.head_dim :]], axis=1)

    def _write_kv(self, rotated: BF16, attrs: Any, rows: _Rows) -> None:
        heads = rotated[:, attrs.num_heads * attrs.head_dim :]
        kv = heads.reshape(-1, 2, attrs.num_kv_heads, attrs.head_dim)
        is_int8 = self._program.kv_groups[attrs.group].dtype is KVDType.INT8
        rows_of_cache = quantized_row(from_bf16(kv)) if is_int8 else kv
        for begin, end, slot, first in rows.requests:
            for row in range(begin, end):
                block, offset = divmod(first + row - begin, BLOCK_SIZE)
                self._blocks[attrs.group][
                    slot.block_tables[attrs.group][block], :, attrs.layer, :, offset
                ] = rows_of_cache[row]

    def _attend(self, rotated: BF16, attrs: Any, rows: _Rows) -> BF16:
        width = attrs.num_heads * attrs.head_dim
        out = np.empty((len(rotated), width), np.uint16)
        scoring = Scoring(attrs.scale, attrs.window, attrs.softcap)
        for begin, end, slot, first in rows.requests:
            context = first + end - begin
            # Blocks before the first row's window may have other owners by now.
            num_gone = int(scoring.first_visible(np.array(first))) // BLOCK_SIZE
            table = slot.block_tables[attrs.group][num_gone : -(-context // BLOCK_SIZE)]
            kv = self._blocks[attrs.group][table, :, attrs.layer]  # [blocks, 2, kv_head, token, row]
            kv = kv.transpose(1, 0, 3, 2, 4).reshape(2, -1, attrs.num_kv_heads, kv.shape[-1])
            kv = np.pad(kv, ((0, 0), (num_gone * BLOCK_SIZE, 0), (0, 0), (0, 0)))[:, :context]
            query = rotated[begin:end, :width].reshape(end - begin, attrs.num_heads, attrs.head_dim)
            out[begin:end] = attend(query, kv[0], kv[1], first, scoring)
        return out


def _empty_blocks(count: int, group: KVGroup) -> np.ndarray:
    """[block, K or V, layer, kv_head, token, head_dim]; of int8 head_dim digits and their unit."""
    is_int8 = group.dtype is KVDType.INT8
    shape = (count, 2, group.num_layers, group.num_kv_heads, BLOCK_SIZE, group.head_dim + is_int8)
    return np.zeros(shape, np.float32 if is_int8 else np.uint16)


def _store(
    logprobs: StepLogprobs, row: int, scored: tuple[np.float32, int, list[int], list[np.float32]]
) -> None:
    logprobs.logprob[row], logprobs.rank[row], top_ids, top_logprobs = scored
    logprobs.top_ids[row, : len(top_ids)] = top_ids
    logprobs.top_logprobs[row, : len(top_ids)] = top_logprobs


def _integers(program: Program, tensors: Mapping[str, Tensor]) -> dict[str, list[Integers | None]]:
    """Of the weights that digits are multiplied by: their parts, None where one is stored otherwise."""
    if all(op.kind is not OpKind.QUANTIZE for op in program.ops):
        return {}
    parts = {weight.name: [tensors[name] for name, _ in weight.parts] for weight in program.weights}
    return {
        name: [integers_of(tensor) if tensor.format.is_quantized else None for tensor in tensors_of_weight]
        for name, tensors_of_weight in parts.items()
    }


def _expand(weight: Weight, tensors: Mapping[str, Tensor]) -> BF16 | F32:
    parts = [tensors[name] for name, _ in weight.parts]
    if weight.is_vector:
        vector = np.concatenate([expand_to_f32(part).reshape(-1) for part in parts])
        return vector + np.float32(weight.offset) if weight.offset else vector
    return np.concatenate([expand_to_bf16(part) for part in parts])
