"""An engine on the sim back end with a virtual clock, driven step by step; each output is checked."""

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from octavo.backends.sim.backend import SimBackend, sim_token
from octavo.backends.sim.clock import VirtualClock
from octavo.core.grammar_spec import GrammarSpec
from octavo.core.messages import EngineStats, RequestOutput, Submit
from octavo.core.request import FinishReason, Pooling
from octavo.core.sampling_params import SamplingParams
from octavo.core.step import RowStatus, StepInput, StepOutput, Ticket
from octavo.engine.compiling import Grammars
from octavo.engine.core import EngineCore
from octavo.kv.manager import KVManager
from octavo.scheduler.scheduler import Scheduler
from tests.speculating import EagerSpeculation, Recalling

VOCAB_SIZE = 1000


def random_prompt(num_tokens: int, seed: int = 0) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(VOCAB_SIZE) for _ in range(num_tokens)]


class ListJournal:
    """What was recorded: (step id, request ids, ids new in kind)."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, list[str], list[str]]] = []
        self.compiles: list[tuple[int, str]] = []

    def record(self, step_id: int, request_ids: Sequence[str], new_request_ids: Sequence[str]) -> None:
        self.steps.append((step_id, list(request_ids), list(new_request_ids)))

    def note_compile(self, place: int, request_id: str) -> None:
        self.compiles.append((place, request_id))


class RecordingBackend(SimBackend):
    """Keeps the steps; the output rows of seeds in not_finite_seeds hold NaN; those in no_token_from
    have nothing to sample from that position on."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.steps: list[StepInput] = []
        self.not_finite_seeds: set[int] = set()
        self.no_token_from: dict[int, int] = {}
        self._seed_of_slot: dict[int, int] = {}

    def submit(self, step: StepInput) -> Ticket:
        self.steps.append(step)
        self._seed_of_slot.update({admission.slot: admission.seed for admission in step.admitted})
        return super().submit(step)

    def _sample(self, slot_id: int, mask: NDArray[np.uint32] | None) -> int | None:
        slot = self._slot(slot_id)
        if len(slot.token_ids) >= self.no_token_from.get(slot.admission.seed, 1 << 30):
            return None
        return super()._sample(slot_id, mask)

    def collect(self, ticket: Ticket, masks: object = None) -> StepOutput:
        output = super().collect(ticket, masks)
        for row, slot in enumerate(self.steps[-1].output_slot.tolist()):
            if self._seed_of_slot[slot] in self.not_finite_seeds:
                output.status[row] = RowStatus.NOT_FINITE
        return output


class SimEngine:
    """EngineCore with everything below it, and what its requests have got so far."""

    def __init__(
        self,
        *,
        num_blocks: int = 1000,
        num_checkpoint_blocks: int = 0,
        max_num_seqs: int = 16,
        max_num_batched_tokens: int = 64,
        target_itl_seconds: float | None = None,
        target_ttft_seconds: float | None = None,
        max_model_len: int = 4096,
        eos_token_ids: frozenset[int] = frozenset(),
        enable_prefix_caching: bool = True,
        windows: tuple[int | None, ...] = (None,),
        grammars: Grammars | None = None,
        guesses_ahead: bool = False,
    ) -> None:
        self.clock = VirtualClock(100.0)
        self.kv = KVManager(
            num_blocks,
            num_checkpoint_blocks,
            windows=windows,
            max_num_batched_tokens=max_num_batched_tokens,
            enable_prefix_caching=enable_prefix_caching,
        )
        self.scheduler = Scheduler(
            self.kv,
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens,
            target_itl_seconds=target_itl_seconds,
            target_ttft_seconds=target_ttft_seconds,
        )
        self.scheduler.speculation = EagerSpeculation(self.scheduler.step_time, 15 * guesses_ahead)
        self.backend = RecordingBackend(
            num_blocks=num_blocks,
            num_checkpoint_blocks=num_checkpoint_blocks,
            max_num_seqs=max_num_seqs,
            windows=windows,
            vocab_size=VOCAB_SIZE,
            sleep=self.clock.sleep,
        )
        self.journal = ListJournal()
        self.core = EngineCore(
            self.scheduler,
            self.backend,
            max_model_len=max_model_len,
            vocab_size=VOCAB_SIZE,
            eos_token_ids=eos_token_ids,
            fingerprint=b"sim",
            enable_prefix_caching=enable_prefix_caching,
            grammars=grammars,
            journal=self.journal,
            new_drafter=(lambda: Recalling(self._futures)) if guesses_ahead else None,
            clock=self.clock.now,
        )
        self.submitted: dict[str, Submit] = {}
        self.tokens: dict[str, list[int]] = {}
        self.last: dict[str, RequestOutput] = {}
        self.stats = EngineStats()
        self._numbers = itertools.count()

    def add(
        self,
        prompt: Sequence[int],
        *,
        request_id: str | None = None,
        output: Sequence[int] = (),
        sampling: SamplingParams | None = None,
        max_tokens: int | None = 1,
        seed: int | None = None,
        priority: int = 0,
        branch: int = 0,
        salt: str = "",
        is_probe: bool = False,
        is_suspect: bool = False,
        fork_of: str | None = None,
        pooling: Pooling | None = None,
        tenant: str = "",
        grammar: GrammarSpec | None = None,
    ) -> str:
        """Submit a request that arrives now; output are the tokens it comes with, after a crash."""
        number = next(self._numbers)
        submit = Submit(
            request_id=request_id if request_id is not None else str(number),
            token_ids=[*prompt, *output],
            num_prompt_tokens=len(prompt),
            sampling=sampling or SamplingParams(max_tokens=max_tokens),
            seed=number if seed is None else seed,
            arrival=self.clock.now(),
            priority=priority,
            branch=branch,
            salt=salt,
            is_probe=is_probe,
            is_suspect=is_suspect,
            fork_of=fork_of,
            pooling=pooling,
            tenant=tenant,
            grammar=grammar,
        )
        self.submitted[submit.request_id] = submit
        self.tokens[submit.request_id] = list(output)
        self.core.add(submit)
        return submit.request_id

    def step(self) -> list[RequestOutput]:
        outputs, self.stats = self.core.step()
        for output in outputs:
            tokens = self.tokens[output.request_id]
            assert output.first_index == len(tokens), "a gap, or a token twice"
            tokens.extend(output.token_ids)
            self.last[output.request_id] = output
        return outputs

    def run(self, max_steps: int = 10_000) -> None:
        """Until nothing is left to do."""
        for _ in range(max_steps):
            if not self.core.has_work:
                return
            self.step()
        raise AssertionError(f"requests are still not finished after {max_steps} steps")

    def run_until_token(self, request_id: str, num_tokens: int = 1) -> None:
        while len(self.tokens[request_id]) < num_tokens:
            self.step()

    def abort(self, request_ids: Iterable[str]) -> None:
        self.core.abort(list(request_ids))

    def expected_tokens(self, request_id: str, num_tokens: int) -> list[int]:
        """What the request gets when it is alone."""
        submit = self.submitted[request_id]
        first = submit.num_prompt_tokens
        return [sim_token(submit.seed, submit.branch, first + i, VOCAB_SIZE, ()) for i in range(num_tokens)]

    def _futures(self) -> Iterator[list[int]]:
        """Every request with the answer it will get."""
        for request_id, submit in self.submitted.items():
            prompt = submit.token_ids[: submit.num_prompt_tokens]
            yield [*prompt, *self.expected_tokens(request_id, submit.sampling.max_tokens or 0)]

    def check_complete(self, request_id: str) -> None:
        """It ended by length, with the tokens it gets when it is alone."""
        assert self.last[request_id].finish_reason is FinishReason.LENGTH
        num_tokens = self.submitted[request_id].sampling.max_tokens
        assert num_tokens is not None
        assert self.tokens[request_id] == self.expected_tokens(request_id, num_tokens)
