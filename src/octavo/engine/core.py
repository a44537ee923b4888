"""The engine's loop without its process: messages in, steps, outputs out.

Runs in the engine process, and in-process for the Python API. Knows nothing of sockets, text or tensors.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from octavo.backends.base import Backend
from octavo.core.block_hash import BlockHash, root_hash
from octavo.core.drafting import Drafter, Drafting
from octavo.core.errors import InvalidRequestError, OctavoError, OverloadedError
from octavo.core.messages import OVERLOADED, EngineStats, RequestOutput, Submit
from octavo.core.request import FinishReason, Request
from octavo.core.step import Float64Array
from octavo.core.token_constraint import TokenConstraint
from octavo.engine.compiling import Compiling, Grammars, NoGrammars
from octavo.engine.masks import MaskFiller
from octavo.scheduler.plan import Plan
from octavo.scheduler.scheduler import Scheduler

COMPILE_WAIT_SECONDS = 0.005  # so long a step without anything else to do waits for a grammar


class Journal(Protocol):
    """Survives the engine's death: who was in the step that killed it."""

    def record(self, step_id: int, request_ids: Sequence[str], new_request_ids: Sequence[str]) -> None:
        """Called before each submit. New: for whom it is the first of its kind (chunk, decode)."""

    def note_compile(self, place: int, request_id: str) -> None:
        """Called in the thread that compiles, before it begins, and with "" when it has ended."""


class NullJournal:
    """For an engine in the caller's own process."""

    def record(self, step_id: int, request_ids: Sequence[str], new_request_ids: Sequence[str]) -> None:
        pass

    def note_compile(self, place: int, request_id: str) -> None:
        pass


@dataclasses.dataclass(frozen=True, slots=True)
class StepReport:
    """What a step computed, and the back end's time for it."""

    num_tokens: int
    num_context_tokens: int  # summed over rows: how many tokens each attends to
    num_requests: int
    seconds: float
    predicted_seconds: float  # by the step-time model, before it saw this step
    phase_seconds: Float64Array | None  # [StepPhase]


class EngineCore:
    """fingerprint names model, numerics and KV format in every block's identity.

    Without prefix caching requests have unrelated identities, so each finds only its own blocks, after a
    preemption, and its forks'. new_drafter: guesses ahead for each request, if the scheduler takes guesses.
    idle_work does a little of what makes later steps faster, and returns whether it did. clock is that of
    Submit.arrival.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        backend: Backend,
        *,
        max_model_len: int,
        vocab_size: int,
        eos_token_ids: frozenset[int],
        fingerprint: bytes,
        enable_prefix_caching: bool = True,
        grammars: Grammars | None = None,
        journal: Journal | None = None,
        new_drafter: Callable[[], Drafter] | None = None,
        idle_work: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scheduler = scheduler
        self._backend = backend
        self._max_model_len = max_model_len
        self._vocab_size = vocab_size
        self._eos_token_ids = eos_token_ids
        self._fingerprint = fingerprint
        self._enable_prefix_caching = enable_prefix_caching
        self._journal = journal or NullJournal()
        self._new_drafter = new_drafter
        self.do_idle_work = idle_work
        self._clock = clock
        grammars = grammars or NoGrammars()
        self._compiling = Compiling(grammars, note=self._journal.note_compile, clock=clock)
        self._masks = MaskFiller(grammars.fill_masks, vocab_size)
        self._outputs: list[RequestOutput] = []  # of requests that ended without a step
        self.last_step: StepReport | None = None

    @property
    def has_work(self) -> bool:
        return bool(self._outputs) or self._scheduler.has_work or bool(self._compiling)

    def add(self, submit: Submit) -> None:
        """Queue a request. If it is refused, the next step's outputs say so."""
        error = self._find_error(submit)
        if error is not None:
            num_output_tokens = max(0, len(submit.token_ids) - submit.num_prompt_tokens)
            output = RequestOutput(submit.request_id, num_output_tokens, [], FinishReason.ERROR, error)
            self._outputs.append(output)
        elif submit.grammar is not None:
            self._compiling.add(submit)
        else:
            self._enqueue(self._to_request(submit))

    def abort(self, request_ids: Sequence[str]) -> None:
        """Their clients are gone: no further output; unknown ids are ignored."""
        self._compiling.remove(request_ids)
        self._scheduler.abort(request_ids)

    def step(self) -> tuple[list[RequestOutput], EngineStats]:
        self._admit_compiled()
        outputs, self._outputs = self._outputs, []
        plan = self._scheduler.schedule(self._clock())
        if plan is not None:
            outputs += self._execute(plan)
        elif self._compiling and not outputs:
            self._compiling.wait(COMPILE_WAIT_SECONDS)
        stats = self._scheduler.stats()
        if plan is None:
            stats.num_step_tokens = 0
        return outputs, stats

    def close(self) -> None:
        self._masks.close()
        self._backend.close()

    def _admit_compiled(self) -> None:
        """Queue those whose grammar is there, refuse those whose grammar is none."""
        if not self._compiling:
            return
        for submit, grammar in self._compiling.take():
            output = RequestOutput(submit.request_id, len(submit.token_ids) - submit.num_prompt_tokens, [])
            if isinstance(grammar, OctavoError):
                output.finish_reason, output.error = FinishReason.ERROR, str(grammar)
                if isinstance(grammar, InvalidRequestError):
                    output.error_code = grammar.code or "invalid_value"
                elif isinstance(grammar, OverloadedError):
                    output.error_code = OVERLOADED
                self._outputs.append(output)
                continue
            constraint = grammar.start(ignores_end=submit.sampling.ignore_eos)
            constraint.advance(submit.token_ids[submit.num_prompt_tokens :])
            if constraint.is_finished:  # it was complete as it came
                output.finish_reason = FinishReason.STOP
                self._outputs.append(output)
            else:
                self._enqueue(self._to_request(submit, constraint))

    def _enqueue(self, request: Request) -> None:
        last_output = self._scheduler.add(request)
        if last_output is not None:
            self._outputs.append(last_output)

    def _execute(self, plan: Plan) -> list[RequestOutput]:
        self._journal.record(
            plan.step.step_id,
            [request.request_id for request in plan.requests],
            [request.request_id for request in plan.new_in_kind],
        )
        self._masks.begin([request.constraint for request in plan.outputs.constrained if request.constraint])
        ticket = self._backend.submit(plan.step)
        result = self._backend.collect(ticket, self._masks.finish())
        outputs = self._scheduler.update(plan, result, self._clock())
        self.last_step = StepReport(
            plan.step.num_tokens,
            plan.num_context_tokens,
            plan.step.num_requests,
            result.seconds,
            self._scheduler.step_time.last_prediction,
            result.phase_seconds,
        )
        return outputs

    def _find_error(self, submit: Submit) -> str | None:
        """What would be a defect further down; the server checks it earlier, in the user's own terms."""
        num_tokens = len(submit.token_ids)
        if not 1 <= submit.num_prompt_tokens <= num_tokens:
            return f"num_prompt_tokens is {submit.num_prompt_tokens}; allowed: 1 to {num_tokens} (token_ids)."
        if submit.num_prompt_tokens >= self._max_model_len:
            return (
                f"The prompt has {submit.num_prompt_tokens} tokens; allowed: less than "
                f"{self._max_model_len}, the longest sequence (--max-model-len)."
            )
        budget = submit.grammar.budget if submit.grammar is not None else None
        closing_ids = budget.closing_ids if budget is not None else ()
        own = ("token_ids", submit.token_ids), ("the end of reasoning", closing_ids)
        for field, token_ids in (*own, *submit.sampling.token_ids_by_field()):
            if token_ids and not (min(token_ids) >= 0 and max(token_ids) < self._vocab_size):
                return f"{field} has an id outside the vocabulary; allowed: 0 to {self._vocab_size - 1}."
        return None

    def _to_request(self, submit: Submit, constraint: TokenConstraint | None = None) -> Request:
        sampling = submit.sampling
        max_total_tokens = self._max_model_len
        if submit.pooling is not None:
            max_total_tokens = submit.num_prompt_tokens
        elif sampling.max_tokens is not None:
            max_total_tokens = min(max_total_tokens, submit.num_prompt_tokens + sampling.max_tokens)
        eos_token_ids = frozenset() if sampling.ignore_eos else self._eos_token_ids
        return Request(
            request_id=submit.request_id,
            token_ids=list(submit.token_ids),
            num_prompt_tokens=submit.num_prompt_tokens,
            sampling=sampling,
            seed=submit.seed,
            arrival=submit.arrival,
            max_total_tokens=max_total_tokens,
            stop_ids=eos_token_ids.union(sampling.stop_token_ids),
            priority=submit.priority,
            branch=submit.branch,
            fork_of=submit.fork_of,
            tenant=submit.tenant,
            pooling=submit.pooling,
            constraint=constraint,
            drafting=self._drafting(submit),
            cache_root=self._cache_root(submit),
            is_suspect=submit.is_suspect,
            is_probe=submit.is_probe,
        )

    def _drafting(self, submit: Submit) -> Drafting | None:
        """None where nothing is sampled, or a grammar must see each token before the next."""
        if self._new_drafter is None or submit.pooling is not None or submit.grammar is not None:
            return None
        return Drafting(self._new_drafter())

    def _cache_root(self, submit: Submit) -> BlockHash | None:
        if submit.is_probe:
            return None
        if not self._enable_prefix_caching:
            family = submit.fork_of or submit.request_id
            return root_hash(b"of one request: " + family.encode(), salt=submit.salt)
        return root_hash(self._fingerprint, salt=submit.salt)
