"""The whole engine but its process, on a model of the matrix: every setting that could change an answer."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from octavo.backends.base import Backend, StepLimits
from octavo.backends.cpu.backend import CpuBackend
from octavo.backends.reference.backend import ReferenceBackend
from octavo.core.messages import EngineStats, Submit
from octavo.core.step import CopyKind, Masks, StepInput, StepOutput, Ticket
from octavo.decoding.grammar import GrammarCompiler
from octavo.engine.core import EngineCore
from octavo.kv.manager import KVManager
from octavo.models.program import Program
from octavo.scheduler.scheduler import Scheduler
from octavo.weights.formats import Tensor
from tests.e2e.matrix.questions import Gathering, Question
from tests.speculating import EagerSpeculation, Recalling

REFERENCE = "reference"  # in place of an instruction set: the NumPy interpreter, which is the specification
NUM_BLOCKS = 4000


class Watched:
    """A back end, and how many copies of each kind it was asked for."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.num_copies = dict.fromkeys(CopyKind, 0)

    def submit(self, step: StepInput) -> Ticket:
        for kind, _, _ in step.copies.tolist():
            self.num_copies[CopyKind(kind)] += 1
        return self._backend.submit(step)

    def collect(self, ticket: Ticket, masks: Masks | None = None) -> StepOutput:
        return self._backend.collect(ticket, masks)

    def close(self) -> None:
        self._backend.close()


class Engine:
    """isa None: the fastest that this processor has."""

    def __init__(
        self,
        program: Program,
        tensors: Mapping[str, Tensor],
        grammars: GrammarCompiler | None = None,
        *,
        isa: str | None = None,
        threads: int = 2,
        max_num_seqs: int = 64,
        max_num_batched_tokens: int = 512,
        num_blocks: int = NUM_BLOCKS,
        num_checkpoint_blocks: int = 0,
        enable_prefix_caching: bool = True,
        known_sequences: Callable[[], Iterable[Sequence[int]]] | None = None,
    ) -> None:
        """known_sequences: guesses ahead are made of these, always, and every fifth is wrong."""
        arch = program.architecture
        max_model_len = min(512, arch.max_position)
        limits = StepLimits(max_num_seqs, max_num_batched_tokens, max_model_len)
        inner: Backend
        if isa == REFERENCE:
            inner = ReferenceBackend(program, tensors, limits, num_blocks, num_checkpoint_blocks)
        else:
            inner = CpuBackend(
                program, tensors, limits, num_blocks, num_checkpoint_blocks, num_threads=threads, isa=isa
            )
        self.backend = Watched(inner)
        self.kv = KVManager(
            num_blocks,
            num_checkpoint_blocks,
            windows=tuple(group.window for group in program.kv_groups),
            max_num_batched_tokens=max_num_batched_tokens,
            enable_prefix_caching=enable_prefix_caching,
        )
        scheduler = Scheduler(
            self.kv,
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens,
            target_itl_seconds=3600.0,  # nobody waits because the machine is busy
        )
        if known_sequences is not None:
            scheduler.speculation = EagerSpeculation(scheduler.step_time, max_drafts=15)
        self.core = EngineCore(
            scheduler,
            self.backend,
            max_model_len=max_model_len,
            vocab_size=arch.vocab_size,
            eos_token_ids=frozenset(),
            fingerprint=b"matrix",
            enable_prefix_caching=enable_prefix_caching,
            grammars=grammars,
            new_drafter=None if known_sequences is None else lambda: Recalling(known_sequences),
        )
        self.stats = EngineStats()
        self.most_running = 0
        self.most_step_tokens = 0
        self._num_requests = 0

    def run(self, questions: Sequence[Question], *, has_forks: bool = True) -> list[Gathering]:
        """All at once, the choices of a prompt as forks of its first. Ends with every block given back."""
        ids = [f"{self._num_requests + i}" for i in range(len(questions))]
        self._num_requests += len(questions)
        for i, question in enumerate(questions):
            is_fork = has_forks and question.branch > 0
            self.core.add(submit_of(question, ids[i], ids[question.first] if is_fork else None))
        gathered = {request_id: Gathering() for request_id in ids}
        while self.core.has_work:
            outputs, self.stats = self.core.step()
            self.most_step_tokens = max(self.most_step_tokens, self.stats.num_step_tokens)
            self.most_running = max(self.most_running, self.stats.num_running)
            for output in outputs:
                gathered[output.request_id].take(output)
        assert self.kv.pool.num_used == 0 and len(self.kv.checkpoints) == 0
        return list(gathered.values())

    def close(self) -> None:
        self.core.close()


def submit_of(question: Question, request_id: str, fork_of: str | None) -> Submit:
    prompt = list(question.prompt)
    submit = Submit(request_id, prompt, len(prompt), question.sampling, question.seed, float(request_id))
    submit.branch, submit.salt, submit.fork_of = question.branch, question.salt, fork_of
    submit.priority, submit.grammar = question.priority, question.grammar
    return submit
