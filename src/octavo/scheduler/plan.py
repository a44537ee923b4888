"""From "these requests compute so many tokens each" to a StepInput. Owns slots and step numbers.

Runs in the engine process.
"""

import dataclasses

import numpy as np

from octavo.core.block_hash import BLOCK_SIZE
from octavo.core.request import Request
from octavo.core.step import Admission, StepInput
from octavo.kv.manager import NO_BLOCK, KVManager
from octavo.scheduler.output_rows import OutputRows


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """A step, and whom its rows belong to."""

    step: StepInput
    requests: list[Request]  # [R]
    num_new_tokens: list[int]  # [R]
    outputs: OutputRows  # whose outputs the step has
    num_drafts: int
    num_context_tokens: int  # summed over rows: how many tokens each attends to
    new_in_kind: list[Request]  # those for which a step like this is the first: first chunk, first decode


class StepBuilder:
    """A request takes a slot with its first tokens in a step; Request.slot is -1 until then.

    A released slot may be taken within the step that releases it: the back end releases first.
    """

    def __init__(self, kv: KVManager, max_num_seqs: int, epoch: int) -> None:
        self._kv = kv
        self._epoch = epoch
        self._next_step_id = 0
        self._free_slots = list(range(max_num_seqs - 1, -1, -1))
        self._released: list[int] = []

    @property
    def next_step_id(self) -> int:
        return self._next_step_id

    def release(self, request: Request) -> None:
        """The request ended or was preempted: its slot, if it has one, is released with the next step."""
        if request.slot >= 0:
            self._released.append(request.slot)
            self._free_slots.append(request.slot)
            request.slot = -1

    def build(self, requests: list[Request], num_new_tokens: list[int], new_in_kind: list[Request]) -> Plan:
        """Extends the requests' block tables by what the step writes. Drafts come besides the new tokens."""
        admitted: list[Admission] = []
        new_blocks: list[tuple[int, int, int, int]] = []
        slots, num_computed, query_start = [], [], [0]
        token_ids: list[int] = []
        outputs = OutputRows()
        num_context_tokens, num_drafts, num_groups = 0, 0, self._kv.num_groups
        for request, count in zip(requests, num_new_tokens, strict=True):
            computed = request.num_computed_tokens
            end = computed + count
            if request.slot < 0 or end * num_groups > len(request.block_table) * BLOCK_SIZE:
                num_known = self._take_slot(request, admitted)
                self._kv.extend(request, end)
                new_blocks += self._new_blocks(request, num_known)
            slots.append(request.slot)
            num_computed.append(computed)
            if count == 1:
                token_ids.append(request.token_ids[computed])
            else:
                token_ids.extend(request.token_ids[computed:end])
            query_start.append(len(token_ids))
            num_context_tokens += count * (computed + 1 + end) // 2
            if computed < request.num_prompt_tokens:
                outputs.add_prompt_rows(request, computed, end, query_start[-2])
            if end == len(request.token_ids):
                outputs.add_last_row(request, len(token_ids) - 1)
                if request.drafts:
                    token_ids += request.drafts
                    query_start[-1] = len(token_ids)
                    num_drafts += len(request.drafts)
                    num_context_tokens += len(request.drafts) * end
        step = StepInput(
            step_id=self._next_step_id,
            epoch=self._epoch,
            admitted=tuple(admitted),
            released=np.array(self._released, np.int32),
            copies=self._kv.take_copies(),
            new_blocks=np.array(new_blocks, np.int32).reshape(-1, 4),
            slot=np.array(slots, np.int32),
            query_start=np.array(query_start, np.int32),
            num_computed=np.array(num_computed, np.int32),
            token_ids=np.array(token_ids, np.int32),
            **outputs.arrays(),
        )
        self._released.clear()
        self._next_step_id += 1
        return Plan(step, requests, num_new_tokens, outputs, num_drafts, num_context_tokens, new_in_kind)

    def _new_blocks(self, request: Request, num_known: int) -> list[tuple[int, int, int, int]]:
        """Entries of the block table from num_known on: slot, group, index, block."""
        num_groups, table = self._kv.num_groups, request.block_table
        return [
            (request.slot, i % num_groups, i // num_groups, table[i])
            for i in range(num_known, len(table))
            if table[i] != NO_BLOCK
        ]

    def _take_slot(self, request: Request, admitted: list[Admission]) -> int:
        """Returns how many entries of its block table the back end knows."""
        if request.slot >= 0:
            return len(request.block_table)
        request.slot = self._free_slots.pop()
        has_minimum = request.sampling.min_tokens > 0
        admitted.append(
            Admission(
                slot=request.slot,
                token_ids=np.array(request.token_ids, np.int32),
                prompt_length=request.num_prompt_tokens,
                sampling=request.sampling,
                seed=request.seed,
                branch=request.branch,
                suppressed_token_ids=tuple(sorted(request.stop_ids)) if has_minimum else (),
            )
        )
        return 0
