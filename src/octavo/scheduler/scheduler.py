"""Decides what each step computes. Runs in the engine process; knows nothing of tensors, text or sockets.

There is no prefill mode and no decode mode. Each request has num_tokens, of which num_computed_tokens are in
the KV cache; each step hands out tokens so that the second catches up with the first, and a request that
caught up samples its next token. Prefill in chunks, prefix hits, preemption and resuming after a crash are
this one rule. Whose tokens these may be, who runs, is roster.py's.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from octavo.core.block_hash import BLOCK_SIZE
from octavo.core.messages import EngineStats, RequestOutput
from octavo.core.request import FinishReason, Request, RequestStatus
from octavo.core.step import RowStatus, StepOutput
from octavo.kv.manager import KVManager
from octavo.scheduler.plan import Plan, StepBuilder
from octavo.scheduler.reporting import embedding_bytes, failure_of, output_of, refusal_of, report_rows
from octavo.scheduler.roster import Roster
from octavo.scheduler.speculation import Speculation
from octavo.scheduler.step_budget import StepBudget
from octavo.scheduler.step_time import StepCost, StepTimeModel


class Scheduler:
    """Owns every request from add to its end. One step is in flight at a time: schedule, execute, update.

    now is monotonic seconds, of the same clock as Request.arrival.
    """

    def __init__(
        self,
        kv: KVManager,
        *,
        max_num_seqs: int,
        max_num_batched_tokens: int,
        target_itl_seconds: float | None = None,
        target_ttft_seconds: float | None = None,
        step_cost: StepCost | None = None,
        num_speculative_tokens: int = 0,
        epoch: int = 0,
    ) -> None:
        assert 1 <= max_num_seqs <= max_num_batched_tokens
        self._kv = kv
        self.step_time = StepTimeModel(step_cost or StepCost())
        self._budget = StepBudget(
            self.step_time,
            max_num_batched_tokens=max_num_batched_tokens,
            target_itl_seconds=target_itl_seconds,
            target_ttft_seconds=target_ttft_seconds,
        )
        self.speculation = Speculation(self.step_time, num_speculative_tokens)
        self._max_num_seqs = max_num_seqs
        self._builder = StepBuilder(kv, max_num_seqs, epoch)
        self._stats = EngineStats()
        self._roster = Roster(
            kv,
            self._budget,
            self._stats,
            max_num_seqs=max_num_seqs,
            release_slot=self._builder.release,
        )
        self._requests = self._roster.requests
        self._trials = self._roster.trials
        self._new_in_kind = self._roster.new_in_kind
        self._without_token: set[Request] = set()  # no token since they were added

    @property
    def has_work(self) -> bool:
        return bool(self._requests)

    def add(self, request: Request) -> RequestOutput | None:
        """Queue a request. An output is already its last: it is refused, or was complete as it came."""
        if request.request_id in self._requests:
            return refusal_of(request, f"A request with id {request.request_id!r} is running already.")
        if request.num_prompt_tokens + 1 > self._kv.num_tokens:
            return refusal_of(
                request,
                f"The prompt has {request.num_prompt_tokens} tokens; the KV cache holds "
                f"{self._kv.num_tokens}, one of them for the answer. --kv-cache-memory makes it larger.",
            )
        # The token sampled at the last position that fits is never computed itself.
        request.max_total_tokens = min(request.max_total_tokens, self._kv.num_tokens + 1)
        if request.num_tokens >= request.max_total_tokens and not request.ends_with_prompt:
            return output_of(request, [], FinishReason.LENGTH)
        self._without_token.add(request)
        self._roster.add(request)
        return None

    def abort(self, request_ids: Sequence[str]) -> None:
        """End requests without an output; unknown ids are ignored. Their blocks are free at once."""
        for request_id in request_ids:
            request = self._requests.get(request_id)
            if request is None:
                continue
            if request.status is RequestStatus.RUNNING:
                self._roster.running.remove(request)
            else:
                self._roster.leave_line(request)
            self._end(request)

    def schedule(self, now: float) -> Plan | None:
        """The next step; None when there is nothing to compute."""
        num_missing_blocks = self._roster.make_room()
        if self._trials.tried is None:
            requests, counts = self._choose(num_missing_blocks, now)
        else:
            requests, counts = self._choose_beside(self._trials.tried, num_missing_blocks, now)
        if not requests:
            return None
        return self._builder.build(requests, counts, self._take_new_in_kind(requests, now))

    def update(self, plan: Plan, output: StepOutput, now: float) -> list[RequestOutput]:
        """Apply a step's result: append tokens, end what is finished. One output per sampled request."""
        step = plan.step
        num_parts = step.num_requests + plan.num_drafts
        self.step_time.observe(step.num_tokens, plan.num_context_tokens, num_parts, output.seconds)
        self._stats.num_steps += 1
        self._stats.num_step_tokens = step.num_tokens
        outputs = self._fail(plan, output) if np.count_nonzero(output.status) else []
        running = RequestStatus.RUNNING
        for request, count in zip(plan.requests, plan.num_new_tokens, strict=True):
            if request.status is running:
                self._advance(request, request.num_computed_tokens + count)
        if plan.num_drafts:
            outputs += self._append_drafted(plan, output, now)
        else:
            for request, token in zip(plan.outputs.sampled, output.token.tolist(), strict=False):
                if request.status is running:
                    outputs.append(self._append(request, token, now))
        if output.logprobs is not None or plan.outputs.has_more_than_tokens:
            for request, last_output in report_rows(plan.outputs, output, outputs):
                self._end_with_prompt(request, last_output, now)
        for request in plan.outputs.sampled if plan.num_drafts else ():
            request.drafts = []
        if any(item.finish_reason is not None for item in outputs):
            self._roster.running[:] = [one for one in self._roster.running if one.status is running]
        return outputs

    def stats(self) -> EngineStats:
        """As of now, and how the prefix cache has changed since the last call; the object is the caller's."""
        cached_blocks, forgotten_blocks = self._kv.prefix_cache.take_changes()
        return msgspec.structs.replace(
            self._stats,
            num_running=sum([not request.is_probe for request in self._roster.running]),
            num_waiting=self._roster.num_waiting,
            kv_usage=self._kv.usage,
            cached_blocks=cached_blocks,
            forgotten_blocks=forgotten_blocks,
        )

    # Planning

    def _choose(self, num_missing_blocks: int | None, now: float) -> tuple[list[Request], list[int]]:
        """Which requests compute how many tokens; without num_missing_blocks, nobody new."""
        decodes, prefills = [], []
        num_context_tokens = 0
        for request in self._roster.running:
            num_tokens = len(request.token_ids)
            if request.is_suspect:
                continue
            if num_tokens - request.num_computed_tokens == 1:
                decodes.append(request)
                num_context_tokens += num_tokens
            else:
                prefills.append(request)
        num_admissible = self._roster.num_admissible
        self._budget.open(len(decodes), num_context_tokens, num_admissible + len(prefills))
        if num_admissible and num_missing_blocks is not None:
            self._roster.admit(prefills, num_missing_blocks)
        counts = [1] * len(decodes)
        if prefills:
            prefills.sort(key=_turn)
            if self._roster.is_all_running:
                self._budget.keep_pace(prefills, now)
            is_oldest_turn = self._builder.next_step_id % 2 == 0
            shares = self._budget.share(prefills, is_oldest_turn=is_oldest_turn)
            granted = [(request, share) for request, share in zip(prefills, shares, strict=True) if share]
            decodes.extend(request for request, _ in granted)
            counts.extend(share for _, share in granted)
        elif decodes and not num_admissible:
            num_spare_rows = min(self._max_num_seqs - len(decodes), self._budget.num_tokens_left)
            self.speculation.draft(decodes, num_context_tokens, num_spare_rows, self._budget.draft_seconds)
        return decodes, counts

    def _choose_beside(
        self, suspect: Request, num_missing_blocks: int | None, now: float
    ) -> tuple[list[Request], list[int]]:
        """The same, or the suspect, alone, when it is its turn, or the others compute nothing."""
        if self._trials.is_turn_of_others:
            requests, counts = self._choose(num_missing_blocks, now)
            if requests:
                self._trials.is_turn_of_others = False
                return requests, counts
        self._trials.is_turn_of_others = True
        self._budget.open_for_one()
        return [suspect], self._budget.share([suspect], is_oldest_turn=True)

    def _take_new_in_kind(self, requests: list[Request], now: float) -> list[Request]:
        if not self._new_in_kind:
            return []
        new_in_kind = [request for request in requests if request in self._new_in_kind]
        self._new_in_kind.difference_update(new_in_kind)
        for request in new_in_kind:
            if request in self._without_token and not request.queue_seconds:
                request.queue_seconds = max(0.0, now - request.arrival)
        return new_in_kind

    # Applying results

    def _fail(self, plan: Plan, output: StepOutput) -> list[RequestOutput]:
        outputs = []
        for request, status in zip(plan.outputs.owners(), output.status.tolist(), strict=True):
            has_failed = status not in (RowStatus.OK, RowStatus.NOT_SAMPLED)
            if has_failed and request.status is RequestStatus.RUNNING:
                outputs.append(failure_of(request, RowStatus(status)))
                self._end(request, is_poisoned=status == RowStatus.NOT_FINITE)
        return outputs

    def _advance(self, request: Request, num_computed_tokens: int) -> None:
        first, end = request.num_computed_tokens // BLOCK_SIZE, num_computed_tokens // BLOCK_SIZE
        self._kv.commit(request, num_computed_tokens)
        if first < end:
            self._roster.wake_followers(request, first, end)

    def _append(self, request: Request, token: int, now: float) -> RequestOutput:
        request.token_ids.append(token)
        num_output_tokens = len(request.token_ids) - request.num_prompt_tokens
        finish_reason = None
        if request.constraint is not None:
            request.constraint.advance([token])
            if request.constraint.is_finished:
                finish_reason = FinishReason.STOP
        if token in request.stop_ids and num_output_tokens > request.sampling.min_tokens:
            finish_reason = FinishReason.STOP
        elif finish_reason is None and len(request.token_ids) >= request.max_total_tokens:
            finish_reason = FinishReason.LENGTH
        if request in self._without_token:
            self._note_first_token(request, num_output_tokens, now)
        if self._roster.followers:
            self._roster.wake_forks(request)
        if not request.is_probe:
            self._stats.num_generation_tokens += 1
        output = output_of(request, [token], finish_reason)
        if finish_reason is not None:
            self._end(request)
        return output

    def _append_drafted(self, plan: Plan, output: StepOutput, now: float) -> list[RequestOutput]:
        """The same in a step with drafts: one that came true is computed, and the token after it sampled."""
        outputs = []
        tokens, status = output.token.tolist(), output.status.tolist()
        row = 0
        for request in plan.outputs.sampled:
            end = row + 1 + len(request.drafts)
            if request.status is RequestStatus.RUNNING:
                result = self._append(request, tokens[row], now)
                while (row := row + 1) < end and result.finish_reason is None and status[row] == RowStatus.OK:
                    self._advance(request, request.num_computed_tokens + 1)
                    more = self._append(request, tokens[row], now)
                    result.token_ids += more.token_ids
                    result.finish_reason = more.finish_reason
                outputs.append(result)
                self._learn(request, len(result.token_ids) - 1)
            row = end
        return outputs

    def _learn(self, request: Request, num_accepted: int) -> None:
        if request.drafts and request.drafting is not None:
            request.drafting.learn(len(request.drafts), num_accepted)
            self._stats.num_drafts += 1
            self._stats.num_draft_tokens += len(request.drafts)
            self._stats.num_accepted_tokens += num_accepted

    def _end_with_prompt(self, request: Request, output: RequestOutput, now: float) -> None:
        self._note_first_token(request, 1, now)
        output.prefill_seconds = request.prefill_seconds
        output.finish_reason = FinishReason.LENGTH
        if request.pooling is not None:
            output.finish_reason = FinishReason.STOP
            output.pooled = embedding_bytes(request)
        self._end(request)

    def _note_first_token(self, request: Request, num_output_tokens: int, now: float) -> None:
        self._without_token.remove(request)
        self._new_in_kind.add(request)
        request.prefill_seconds = max(0.0, now - request.arrival - request.queue_seconds)
        if num_output_tokens == 1 and not request.is_probe:
            self._stats.num_prompt_tokens += request.num_prompt_tokens
        if request.is_suspect:
            self._trials.acquit(request)

    def _end(self, request: Request, *, is_poisoned: bool = False) -> None:
        """Give back everything a request holds, except its place in the running list."""
        self._roster.remove(request)
        self._kv.free(request, is_poisoned=is_poisoned)
        request.status = RequestStatus.FINISHED
        self._without_token.discard(request)


def _turn(request: Request) -> tuple[int, int]:
    """Among those that compute their prompts: who was let in later does not go first, whenever it arrived."""
    return request.priority, request.admission
