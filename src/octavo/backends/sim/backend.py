"""A back end without tensors: time passes by a formula, tokens are a function of (seed, branch, position).

It runs the real engine for scheduler tests, router tests and the planner, and it is strict: what it "writes"
into a KV block is a digest of the whole sequence up to each position, and each step it reads a request's
context back through its block table and compares. A wrong table, a lost copy, a block zeroed or cached
wrongly is a SimContractError.
"""

import dataclasses
from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from octavo.backends.base import draft_of, empty_logprobs
from octavo.core.block_hash import BLOCK_SIZE
from octavo.core.step import (
    LAST_SAMPLED,
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

StepSeconds = Callable[[int, int, int], float]  # of tokens, context tokens summed over rows, requests

_DIGEST_BASE = np.uint64(0x9E3779B97F4A7C15)
_EMPTY = np.uint64(0)
_GROUP_SALT = 0xC2B2AE3D27D4EB4F  # what one KV group writes makes no sense to another
NO_BLOCK = -1


class SimContractError(AssertionError):
    """The engine broke the contract of core/step.py."""


def default_step_seconds(num_tokens: int, num_context_tokens: int, num_requests: int) -> float:
    return 2e-3 + 4e-4 * num_tokens + 1e-7 * num_context_tokens + 1e-5 * num_requests


def sim_token(
    seed: int, branch: int, position: int, vocab_size: int, suppressed: Collection[int] = ()
) -> int:
    """The token at a position, whatever came before: a hash (splitmix64), or the next allowed id."""
    x = (seed * 0x9E3779B97F4A7C15 + branch * 0xC2B2AE3D27D4EB4F + position * 0x165667B19E3779F9) % 2**64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    token = (x ^ x >> 31) % vocab_size
    while token in suppressed:
        token = (token + 1) % vocab_size
    return token


def sim_logprob(position: int, token: int) -> float:
    """Of a token at a position; its rank is 1."""
    return -((31 * position + 17 * token) % 160 + 1) / 16


@dataclasses.dataclass(slots=True)
class _Slot:
    admission: Admission
    token_ids: list[int]
    digests: NDArray[np.uint64]  # [capacity] valid for the positions of token_ids
    block_tables: list[list[int]]  # per KV group; NO_BLOCK behind a window

    def append(self, token: int) -> None:
        position = len(self.token_ids)
        self.token_ids.append(token)
        if position >= len(self.digests):
            self.digests = np.resize(self.digests, 2 * position)
        self.digests[position] = (int(self.digests[position - 1]) + _term(position, token)) % 2**64

    def digests_with(self, drafts: list[int]) -> NDArray[np.uint64]:
        """The digests, valid for the positions of the drafts too."""
        if not drafts:
            return self.digests
        return sequence_digests(self.token_ids + drafts)


class SimBackend:
    """sleep(seconds) lets a step's time pass: time.sleep, or VirtualClock.sleep.

    windows: of the KV groups, as for KVManager. A slot lets go of what lies behind a window.
    """

    def __init__(
        self,
        *,
        num_blocks: int,
        num_checkpoint_blocks: int = 0,
        max_num_seqs: int,
        windows: tuple[int | None, ...] = (None,),
        vocab_size: int = 32_000,
        sleep: Callable[[float], None],
        step_seconds: StepSeconds = default_step_seconds,
    ) -> None:
        self._content = np.full((num_blocks, BLOCK_SIZE), _EMPTY)
        self._tier = np.full((num_checkpoint_blocks, BLOCK_SIZE), _EMPTY)
        self._num_users = [0] * num_blocks  # slots whose table holds the block
        self._max_num_seqs = max_num_seqs
        self._windows = windows
        self._vocab_size = vocab_size
        self._sleep = sleep
        self._step_seconds = step_seconds
        self._slots: dict[int, _Slot] = {}
        self._last_step_id = -1
        self._pending: tuple[StepInput, float] | None = None

    def submit(self, step: StepInput) -> Ticket:
        _check(self._pending is None, "a step is in flight already")
        _check(step.step_id > self._last_step_id, f"step {step.step_id} follows step {self._last_step_id}")
        self._last_step_id = step.step_id
        self._apply_changes(step)
        num_context_tokens = self._compute(step)
        seconds = self._step_seconds(step.num_tokens, num_context_tokens, step.num_requests)
        self._pending = (step, seconds)
        return Ticket(step.step_id)

    def collect(self, ticket: Ticket, masks: Masks | None = None) -> StepOutput:
        _check(self._pending is not None, "no step is in flight")
        assert self._pending is not None
        step, seconds = self._pending
        _check(step.step_id == ticket.step_id, f"step {ticket.step_id} is not in flight")
        self._pending = None
        self._sleep(seconds)
        tokens = np.maximum(step.target, 0)
        status = np.full(len(tokens), RowStatus.OK, np.int32)
        num_sampled = int((step.output_kind == OutputKind.SAMPLE).sum())
        for i, slot, mask_row in zip(
            range(num_sampled), step.output_slot.tolist(), step.mask_row.tolist(), strict=False
        ):
            draft = draft_of(step, i)
            if draft is not None and (status[i - 1] != RowStatus.OK or tokens[i - 1] != draft):
                tokens[i], status[i] = 0, RowStatus.NOT_SAMPLED
                continue
            mask = None if mask_row == NO_MASK or masks is None else masks[mask_row]
            token = self._sample(slot, mask)
            failure = RowStatus.NO_TOKEN if draft is None else RowStatus.NOT_SAMPLED
            tokens[i], status[i] = (0, failure) if token is None else (token, RowStatus.OK)
        logprobs, pooled = _logprobs(step, tokens, self._vocab_size), _pooled(step)
        return StepOutput(step.step_id, tokens, status, seconds, logprobs, pooled)

    def close(self) -> None:
        self._slots.clear()

    def _apply_changes(self, step: StepInput) -> None:
        for slot_id in step.released.tolist():
            for table in self._slot(slot_id).block_tables:
                self._let_go(table, len(table))
            del self._slots[slot_id]
        for admission in step.admitted:
            self._admit(admission)
        for kind, _, block in step.copies.tolist():
            is_overwritten = kind != CopyKind.BLOCK_TO_TIER and self._num_users[block] > 0
            _check(not is_overwritten, f"block {block} is overwritten while in use")
        self._copy(step, CopyKind.BLOCK_TO_TIER, self._content, self._tier)
        self._copy(step, CopyKind.BLOCK_TO_BLOCK, self._content, self._content)
        num_computed = dict(zip(step.slot.tolist(), step.num_computed.tolist(), strict=True))
        for slot_id, computed in num_computed.items():
            for window, table in zip(self._windows, self._slot(slot_id).block_tables, strict=True):
                self._let_go(table, _first_visible(window, computed) // BLOCK_SIZE)
        for slot_id, group, index, block in step.new_blocks.tolist():
            _check(0 <= group < len(self._windows), f"KV group {group} of {len(self._windows)}")
            _check(slot_id in num_computed, f"slot {slot_id} takes a block in a step it is not part of")
            table = self._slot(slot_id).block_tables[group]
            if not table:  # a prefix hit: what lies behind the window is not needed
                first = _first_visible(self._windows[group], num_computed[slot_id]) // BLOCK_SIZE
                table.extend([NO_BLOCK] * min(first, index))
            _check(
                index == len(table), f"slot {slot_id} has {len(table)} blocks and takes one at index {index}"
            )
            if index * BLOCK_SIZE >= num_computed[slot_id]:
                _check(self._num_users[block] == 0, f"block {block} is taken while in use")
                self._content[block] = _EMPTY
            table.append(block)
            self._num_users[block] += 1
        self._copy(step, CopyKind.TIER_TO_BLOCK, self._tier, self._content)

    def _let_go(self, table: list[int], end: int) -> None:
        for index, block in enumerate(table[:end]):
            if block != NO_BLOCK:
                self._num_users[block] -= 1
                table[index] = NO_BLOCK

    def _admit(self, admission: Admission) -> None:
        slot_id = admission.slot
        _check(0 <= slot_id < self._max_num_seqs, f"slot {slot_id} of {self._max_num_seqs}")
        _check(slot_id not in self._slots, f"slot {slot_id} is admitted while in use")
        token_ids = admission.token_ids.tolist()
        _check(len(token_ids) > 0, f"slot {slot_id} has no tokens")
        _check(
            all(0 <= token < self._vocab_size for token in token_ids), "a token id is outside the vocabulary"
        )
        self._slots[slot_id] = _Slot(
            admission, token_ids, sequence_digests(token_ids), [[] for _ in self._windows]
        )

    def _copy(
        self, step: StepInput, kind: CopyKind, source: NDArray[np.uint64], target: NDArray[np.uint64]
    ) -> None:
        copies = step.copies[step.copies[:, 0] == kind]
        _check(len(set(copies[:, 2].tolist())) == len(copies), "two copies have one destination")
        contents = source[copies[:, 1]]
        is_full = kind == CopyKind.BLOCK_TO_BLOCK or bool((contents != _EMPTY).all())
        _check(is_full, f"{kind.name} of a block that is not full")
        target[copies[:, 2]] = contents

    def _compute(self, step: StepInput) -> int:
        """Check what each request reads, then write what each computes; returns the rows' context tokens."""
        _check(step.num_requests == len(set(step.slot.tolist())), "a slot is twice in a step")
        bounds = step.query_start.tolist()
        _check(bounds[0] == 0 and bounds[-1] == step.num_tokens, "query_start does not span token_ids")
        num_context_tokens = 0
        num_drafts = _num_drafts(step)
        requests = list(zip(step.slot.tolist(), step.num_computed.tolist(), bounds, bounds[1:], strict=False))
        for slot_id, num_computed, begin, end in requests:
            total = num_computed + end - begin
            self._check_request(slot_id, num_computed, step.token_ids[begin:end], num_drafts.get(slot_id, 0))
            num_context_tokens += (end - begin) * (num_computed + 1 + total) // 2
        for slot_id, num_computed, begin, end in requests:
            slot = self._slots[slot_id]
            positions = np.arange(num_computed, num_computed + end - begin)
            digests = slot.digests_with(step.token_ids[end - num_drafts.get(slot_id, 0) : end].tolist())
            for group, table in enumerate(slot.block_tables):
                blocks = np.array(table)[positions // BLOCK_SIZE]
                self._content[blocks, positions % BLOCK_SIZE] = _content(digests[positions], group)
        self._check_outputs(step)
        return num_context_tokens

    def _check_outputs(self, step: StepInput) -> None:
        kinds = step.output_kind.tolist()
        _check(kinds == sorted(kinds), "outputs do not lie by kind")
        _check(kinds.count(OutputKind.SAMPLE) <= self._max_num_seqs, "more is sampled than there are slots")
        positions = _positions(step).tolist()
        outputs = zip(kinds, step.output_slot.tolist(), step.output_row.tolist(), positions, strict=True)
        before = (-1, -1)  # slot and row
        for i, (kind, slot_id, row, position) in enumerate(outputs):
            slot = self._slot(slot_id)
            is_last = position == len(slot.token_ids) - 1
            is_draft, before = before == (slot_id, row - 1), (slot_id, row)
            is_prompt = position < slot.admission.prompt_length
            if kind == OutputKind.SAMPLE:
                is_expected = is_last or (is_draft and position >= len(slot.token_ids))
                _check(is_expected, f"slot {slot_id} samples at another row than its last token's")
            elif kind == OutputKind.SCORE:
                is_next = slot.token_ids[position + 1 : position + 2] == [int(step.target[i])]
                _check(is_next and is_prompt, f"slot {slot_id} scores a token that does not follow")
            else:
                _check(is_prompt, f"slot {slot_id} pools what is not its prompt")

    def _check_request(
        self, slot_id: int, num_computed: int, token_ids: NDArray[np.int32], num_drafts: int
    ) -> None:
        slot = self._slot(slot_id)
        total = num_computed + len(token_ids)
        num_known = len(token_ids) - num_drafts
        _check(num_known > 0, f"slot {slot_id} computes nothing")
        _check(total - num_drafts <= len(slot.token_ids), f"slot {slot_id} computes tokens it does not have")
        self._check_tokens(slot, slot_id, num_computed, token_ids[:num_known])
        for group in range(len(self._windows)):
            self._check_group(slot_id, group, num_computed, total)

    def _check_group(self, slot_id: int, group: int, num_computed: int, total: int) -> None:
        slot = self._slot(slot_id)
        table, first = slot.block_tables[group], _first_visible(self._windows[group], num_computed)
        _check(total <= len(table) * BLOCK_SIZE, f"slot {slot_id} writes beyond its block table")
        begin = first // BLOCK_SIZE
        _check(NO_BLOCK not in table[begin:], f"slot {slot_id} has no block where its window begins")
        context = self._content[np.array(table[begin:])].ravel()[first % BLOCK_SIZE :][: num_computed - first]
        is_own = np.array_equal(context, _content(slot.digests[first:num_computed], group))
        _check(is_own, f"slot {slot_id} reads KV that is not of its own sequence")
        written = table[num_computed // BLOCK_SIZE : (total - 1) // BLOCK_SIZE + 1]
        shared = [block for block in written if self._num_users[block] > 1]
        _check(not shared, f"slot {slot_id} writes into blocks {shared}, which others use too")

    def _check_tokens(self, slot: _Slot, slot_id: int, first: int, given: NDArray[np.int32]) -> None:
        known = np.array(slot.token_ids[first : first + len(given)], np.int32)
        is_last = np.arange(first, first + len(given)) == len(slot.token_ids) - 1
        is_same = (given == known) | ((given == LAST_SAMPLED) & is_last)
        _check(bool(is_same.all()), f"slot {slot_id} is given other tokens than its own")

    def _sample(self, slot_id: int, mask: NDArray[np.uint32] | None) -> int | None:
        """None when nothing may be sampled. Bias, penalties and bad words do not matter here."""
        slot = self._slot(slot_id)
        admission, position = slot.admission, len(slot.token_ids)
        is_free = position >= admission.prompt_length + admission.sampling.min_tokens
        suppressed = set() if is_free else set(admission.suppressed_token_ids)
        allowed = admission.sampling.allowed_token_ids
        if mask is not None or allowed is not None:
            is_allowed = np.ones(self._vocab_size, bool) if mask is None else _unpack(mask, self._vocab_size)
            for_all = range(self._vocab_size) if allowed is None else allowed
            suppressed |= set(range(self._vocab_size)) - (set(np.flatnonzero(is_allowed)) & set(for_all))
        if len(suppressed) >= self._vocab_size:
            return None
        token = sim_token(admission.seed, admission.branch, position, self._vocab_size, suppressed)
        slot.append(token)
        return token

    def _slot(self, slot_id: int) -> _Slot:
        _check(slot_id in self._slots, f"slot {slot_id} is used while not admitted")
        return self._slots[slot_id]


def _first_visible(window: int | None, position: int) -> int:
    return 0 if window is None else max(0, position - window + 1)


def _content(digests: NDArray[np.uint64], group: int) -> NDArray[np.uint64]:
    return digests ^ np.uint64(_GROUP_SALT * group % 2**64)


def sequence_digests(token_ids: list[int]) -> NDArray[np.uint64]:
    """For each position a number that depends on every token up to it: sums of a polynomial modulo 2^64."""
    powers = np.cumprod(np.full(len(token_ids), _DIGEST_BASE))
    return np.cumsum(powers * (np.array(token_ids, np.uint64) + np.uint64(1)))


def _term(position: int, token: int) -> int:
    return pow(int(_DIGEST_BASE), position + 1, 2**64) * (token + 1)


def _unpack(mask: NDArray[np.uint32], vocab_size: int) -> NDArray[np.bool_]:
    return np.unpackbits(mask.view(np.uint8), bitorder="little")[:vocab_size].astype(bool)


def _positions(step: StepInput) -> NDArray[np.int32]:
    """Of each output's row."""
    request = np.searchsorted(step.query_start, step.output_row, side="right") - 1
    positions: NDArray[np.int32] = step.num_computed[request] + step.output_row - step.query_start[request]
    return positions


def _logprobs(step: StepInput, tokens: NDArray[np.int32], vocab_size: int) -> StepLogprobs | None:
    logprobs = empty_logprobs(step)
    if logprobs is None:
        return None
    logprobs.rank[:] = 1
    for i, position in enumerate((_positions(step) + 1).tolist()):
        logprobs.logprob[i] = sim_logprob(position, int(tokens[i]))
        for j in range(int(step.num_logprobs[i])):
            logprobs.top_ids[i, j] = (position + j) % vocab_size
            logprobs.top_logprobs[i, j] = sim_logprob(position, (position + j) % vocab_size)
    return logprobs


def _num_drafts(step: StepInput) -> dict[int, int]:
    """Of slots that are sampled: rows of theirs that are, beyond the first."""
    is_sampled = step.output_kind == OutputKind.SAMPLE
    slots, counts = np.unique(step.output_slot[is_sampled], return_counts=True)
    return dict(zip(slots.tolist(), (counts - 1).tolist(), strict=True))


def _pooled(step: StepInput) -> NDArray[np.float32] | None:
    """A hidden state is the row's position and token."""
    is_pooled = step.output_kind == OutputKind.POOL
    if not is_pooled.any():
        return None
    token_ids = step.token_ids[step.output_row[is_pooled]]
    return np.stack([_positions(step)[is_pooled], token_ids], axis=1).astype(np.float32)


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise SimContractError(message)
