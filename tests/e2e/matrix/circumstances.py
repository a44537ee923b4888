"""The columns of the exactness matrix: circumstances that no answer may depend on.

Each puts a cell's questions through an engine, makes sure that what its name says did happen, and returns the
answers with what they must be: those of the plain run, which is each request alone, its prompt in one chunk,
nothing cached, one thread, portable instructions.
"""

import asyncio
import dataclasses
import functools
import itertools
import os
import signal
from collections.abc import Callable, Mapping, Sequence

from octavo import LLM
from octavo.config import EngineConfig, Environment
from octavo.core.step import CopyKind
from octavo.engine.client import EngineClient
from octavo.engine.streams import RequestStream
from octavo.engine.supervisor import EngineSupervisor
from octavo.kv.manager import max_blocks_held
from tests.e2e.matrix.engine import REFERENCE, Engine
from tests.e2e.matrix.models import MatrixModel
from tests.e2e.matrix.questions import GRAMMARS, MIN_TOKENS, Answer, Gathering, Question, fillers
from tests.engine.harness import the_engine

BUILDS = ("portable", "avx2", "avx512", "amx", "amx_emulated")
SPECIFIED = "reference"
NUM_REFERENCE_TOKENS = 4
MAX_KILLS = 8


@dataclasses.dataclass(frozen=True)
class Cell:
    """plain: the questions' answers in the plain run."""

    model: MatrixModel
    questions: Sequence[Question]
    plain: Sequence[Answer]

    def engine(self, **options: object) -> Engine:
        return engine_of(self.model, **options)


Outcome = tuple[Sequence[Answer], Sequence[Answer]]  # what came, what must have come


def engine_of(model: MatrixModel, **options: object) -> Engine:
    return Engine(model.program, model.weights.checkpoint.parts, model.grammars, **options)  # type: ignore[arg-type]


def plain_answers(
    model: MatrixModel, questions: Sequence[Question], engine: Engine | None = None
) -> list[Answer]:
    engine = engine or engine_of(model, isa="portable", threads=1)
    gathered = [engine.run([question], has_forks=False)[0] for question in questions]
    assert engine.most_running == 1
    assert engine.most_step_tokens == max(len(question.prompt) for question in questions)
    assert not any(item.num_cached_tokens for item in gathered[:1])
    engine.close()
    return [item.answer() for item in gathered]


def _answers(gathered: Sequence[Gathering]) -> list[Answer]:
    return [item.answer() for item in gathered]


def batch(size: int, cell: Cell) -> Outcome:
    """Among so many requests of other people, all at once: an eighth of the largest step goes to prompts,
    however long steps are found to take, and nobody waits for a grammar, so the last one begins before the
    first has ended."""
    for spec in GRAMMARS.values():
        cell.model.grammars.compile(spec)
    engine = cell.engine(max_num_batched_tokens=4096)
    if size == 1:
        answers = [engine.run([question], has_forks=False)[0].answer() for question in cell.questions]
    else:
        lengths = [3 + 7 * i % 41 for i in range(size - len(cell.questions))]
        others = fillers(lengths, cell.model.vocab_size, cell.model.max_tokens)
        answers = _answers(engine.run([*cell.questions, *others])[: len(cell.questions)])
    assert engine.most_running == size
    engine.close()
    return answers, cell.plain


def chunks(size: int, cell: Cell) -> Outcome:
    engine = cell.engine(max_num_batched_tokens=size, max_num_seqs=8)
    answers = _answers(engine.run(cell.questions))
    assert engine.most_step_tokens <= size < min(len(question.prompt) for question in cell.questions)
    engine.close()
    return answers, cell.plain


def with_prefix(num_shared: Callable[[int], int], cell: Cell) -> Outcome:
    """After prompts that were as far alike: num_shared of a prompt's length."""
    engine = cell.engine()
    firsts = [question for question in cell.questions if question.branch == 0]
    engine.run([_once(question, num_shared(len(question.prompt))) for question in firsts])
    gathered = engine.run(cell.questions)
    for question, item in zip(cell.questions, gathered, strict=True):
        length = len(question.prompt)
        num_hit = min(num_shared(length), length - 1) // 16 * 16 if question.may_hit else 0
        assert item.num_cached_tokens == num_hit or question.branch > 0
    engine.close()
    return _answers(gathered), cell.plain


def _once(question: Question, num_shared: int) -> Question:
    """One token's worth of a prompt that begins like the question's."""
    other = tuple((token + 1) % 200 for token in question.prompt[num_shared:])
    sampling = dataclasses.replace(question.sampling, max_tokens=1, min_tokens=0, prompt_logprobs=None)
    return dataclasses.replace(question, prompt=question.prompt[:num_shared] + other, sampling=sampling)


def without_prefix_cache(cell: Cell) -> Outcome:
    engine = cell.engine(enable_prefix_caching=False)
    engine.run(cell.questions)
    answers = _answers(engine.run(cell.questions))
    assert engine.stats.prefix_cache_hits == 0
    engine.close()
    return answers, cell.plain


def preempted(num_checkpoint_blocks: int, cell: Cell) -> Outcome:
    """For others that grow, in smaller and smaller caches until it happens; with room to swap to, or none."""
    others = fillers([3 + i % 4 for i in range(12)], cell.model.vocab_size, 2 * cell.model.max_tokens)
    num_blocks = _num_blocks_at_first(cell.model, [*cell.questions, *others])
    for percent in (100, 80, 64, 50, 40):
        engine = cell.engine(
            num_blocks=num_blocks * percent // 100,
            num_checkpoint_blocks=num_checkpoint_blocks,
            max_num_batched_tokens=64,
        )
        gathered = engine.run([*cell.questions, *others])[: len(cell.questions)]
        engine.close()
        if any(item.num_preemptions for item in gathered) and _has_paid(engine, num_checkpoint_blocks > 0):
            return _answers(gathered), cell.plain
    raise AssertionError("nobody was preempted")


def _has_paid(engine: Engine, can_swap: bool) -> bool:
    if can_swap:
        return engine.backend.num_copies[CopyKind.TIER_TO_BLOCK] > 0
    return engine.stats.num_recomputed_tokens > 16 * engine.stats.num_preemptions


def _num_blocks_at_first(model: MatrixModel, questions: Sequence[Question]) -> int:
    """What the prompts take when each is computed, and what admission keeps free for each request."""
    windows = tuple(group.window for group in model.weights.program.kv_groups)
    prompts = [question.prompt for question in questions if question.branch == 0]
    num_held = sum(max_blocks_held(windows, len(prompt) + 1, 1) for prompt in prompts)
    return num_held + len(windows) * len(questions)


def guessing_ahead(cell: Cell) -> Outcome:
    """Beside others who ask again: their answers are guessed where a grammar forbids to guess the cell's."""
    known: list[tuple[int, ...]] = []
    engine = cell.engine(known_sequences=lambda: known)
    others = fillers([3, 20, 40], cell.model.vocab_size, cell.model.max_tokens)
    for question, answer in zip(others, _answers(engine.run(others)), strict=True):
        known.append(question.prompt + answer.token_ids)
    for question, plain in zip(cell.questions, cell.plain, strict=True):
        known.append(question.prompt + plain.token_ids)
    assert engine.stats.num_drafts == 0
    answers = _answers(engine.run([*cell.questions, *others])[: len(cell.questions)])
    assert 0 < engine.stats.num_accepted_tokens < engine.stats.num_draft_tokens
    engine.close()
    return answers, cell.plain


def killed(cell: Cell) -> Outcome:
    """An engine process of its own, SIGKILL when a third of the tokens are out, and its successor."""
    for _ in range(MAX_KILLS):
        answers = asyncio.run(_killed(cell))
        if answers is not None:
            return answers, cell.plain
    raise AssertionError("every engine had finished before it was killed")


async def _killed(cell: Cell) -> list[Answer] | None:
    """None if the first engine, faster than this process, had said everything already."""
    config = EngineConfig(
        model=str(cell.model.path), max_model_len=256, kv_cache_memory=64 << 20, max_num_batched_tokens=64,
        max_num_seqs=16, kv_dtype=cell.model.kv_dtype, activation_dtype=cell.model.activation_dtype,
    )  # fmt: skip
    client = await EngineSupervisor.start(config, Environment.read())
    try:
        streams: list[RequestStream] = []
        for i, question in enumerate(cell.questions):
            streams.append(_submit(client, f"q{i}", question, f"q{question.first}"))
        victims = [cell.model.max_tokens // 3]
        gathered = await asyncio.gather(*(_gather(stream, victims) for stream in streams))
        return [item.answer() for item in gathered] if client.num_restarts else None
    finally:
        await client.close()


def _submit(client: EngineClient, request_id: str, question: Question, first: str) -> RequestStream:
    return client.submit(
        list(question.prompt),
        question.sampling,
        request_id=request_id,
        seed=question.seed,
        branch=question.branch,
        salt=question.salt,
        fork_of=first if question.branch else None,
        grammar=question.grammar,
    )


async def _gather(stream: RequestStream, kill_at: list[int]) -> Gathering:
    """kill_at: at how many tokens the engine dies, once; whoever gets there first empties it."""
    gathering = Gathering()
    async for output in stream:
        gathering.take(output)
        if kill_at and len(gathering.token_ids) >= kill_at[0]:
            kill_at.clear()
            os.kill(the_engine(), signal.SIGKILL)
    return gathering


def stopped(cell: Cell) -> Outcome:
    """By a string that begins in one token and ends in the next, through the Python API."""
    firsts = [i for i, question in enumerate(cell.questions) if question.branch == 0]
    num_choices = len(cell.questions) // len(firsts)
    stops = [_split_string(cell.model, cell.plain[i]) for i in firsts]
    params = [
        dataclasses.replace(cell.questions[i].sampling, stop=(stop,), seed=cell.questions[i].seed)
        for i, stop in zip(firsts, stops, strict=True)
    ]
    dtypes = {"kv_dtype": cell.model.kv_dtype, "activation_dtype": cell.model.activation_dtype}
    options = {"max_model_len": 256, "kv_cache_memory": 64 << 20, **dtypes}
    with LLM(str(cell.model.path), threads=2, **options) as llm:
        prompts = [cell.questions[i].prompt for i in firsts]
        grammar = cell.questions[0].grammar
        completions = llm.generate(prompts, params, grammar=grammar, n=num_choices, show_progress=False)
    expected = []
    for i, plain in enumerate(cell.plain):
        stop = stops[i // num_choices]
        cut, text = _cut(cell.model, plain, stop, cell.questions[i].sampling.min_tokens)
        assert completions[i].text == text
        expected.append(cut)
    assert any(len(cut.token_ids) < cell.model.max_tokens for cut in expected)
    return [Answer.of(c.token_ids, c.logprobs, c.prompt_logprobs) for c in completions], expected


def _split_string(model: MatrixModel, plain: Answer) -> str:
    """The end of one token and the beginning of the next; of tokens that are no text, what never comes."""
    texts = [model.text([token]) for token in plain.token_ids]
    pairs = list(itertools.pairwise(texts))
    for before, after in pairs[MIN_TOKENS:] + pairs[:MIN_TOKENS]:
        if before and after and (before + after).isascii():
            return before[-1] + after[0]
    return "never"


def _cut(model: MatrixModel, plain: Answer, stop: str, min_tokens: int) -> tuple[Answer, str]:
    """The plain answer up to the token that completes the stop string, and the text before it."""
    for count in range(max(1, min_tokens), len(plain.token_ids) + 1):
        text = model.text(list(plain.token_ids[:count]))
        num_new = len(model.text([plain.token_ids[count - 1]]))
        at = text.find(stop, max(0, len(text) - num_new - len(stop) + 1))
        if at >= 0:
            return plain.first(count), text[:at]
    return plain, model.text(list(plain.token_ids))


def computed(isa: str | None, threads: int, cell: Cell) -> Outcome:
    """By another build of the kernels, or by other threads."""
    engine = cell.engine(isa=isa, threads=threads)
    answers = _answers(engine.run(cell.questions))
    engine.close()
    return answers, cell.plain


def specified(cell: Cell) -> Outcome:
    """The first tokens by the NumPy interpreter."""
    count = min(NUM_REFERENCE_TOKENS, cell.model.max_tokens)
    engine = cell.engine(isa=REFERENCE)
    questions = [
        dataclasses.replace(item, sampling=dataclasses.replace(item.sampling, max_tokens=count))
        for item in cell.questions
    ]
    answers = _answers(engine.run(questions))
    engine.close()
    return answers, [plain.first(count) for plain in cell.plain]


Run = Callable[[Cell], Outcome]


def _columns() -> Mapping[str, Run]:
    bound = functools.partial
    columns: dict[str, Run] = {f"batch of {size}": bound(batch, size) for size in (1, 7, 64)}
    columns |= {f"chunks of {size}": bound(chunks, size) for size in (16, 29)}
    columns |= {
        "prefix cold": bound(with_prefix, lambda length: 0),
        "prefix in part": bound(with_prefix, lambda length: length * 2 // 3),
        "prefix whole": bound(with_prefix, lambda length: length),
        "prefix cache off": without_prefix_cache,
        "preempted, swapped": bound(preempted, 500),
        "preempted, recomputed": bound(preempted, 0),
        "guessing ahead": guessing_ahead,
        "killed and resumed": killed,
        "stop strings": stopped,
    }
    columns |= {f"{count} thread{'s' * (count > 1)}": bound(computed, None, count) for count in (1, 2, 3)}
    columns |= {isa: bound(computed, isa, 2) for isa in BUILDS}
    return columns | {SPECIFIED: specified}


COLUMNS = _columns()
