"""Requests whose grammar is being compiled: held here until it is, then admitted or refused.

A compile has a thread of its own, a few at a time, and bounded time: whoever takes longer is refused, and the
thread left to end by itself. Runs in the engine process; everything public is called by the step loop.
"""

import collections
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Protocol

from octavo.core.errors import EngineError, InvalidRequestError, OctavoError
from octavo.core.grammar_spec import GrammarSpec
from octavo.core.messages import Submit
from octavo.core.step import Masks
from octavo.core.token_constraint import TokenConstraint
from octavo.engine.journal import MAX_COMPILING_IDS

MAX_THREADS = MAX_COMPILING_IDS
COMPILE_SECONDS = 5.0  # for one grammar
QUEUE_SECONDS = 30.0  # until a thread is free


class Grammar(Protocol):
    def start(self, *, ignores_end: bool = False) -> TokenConstraint: ...


class Grammars(Protocol):
    """What is used of decoding/grammar.py's compiler. All but fill_masks are called in threads."""

    def prepare(self) -> None: ...

    def find(self, spec: GrammarSpec) -> Grammar | None: ...

    def compile(self, spec: GrammarSpec) -> Grammar: ...

    def fill_masks(self, constraints: Sequence[TokenConstraint], masks: Masks) -> None: ...


class NoGrammars:
    """Of an engine that cannot compile any."""

    def prepare(self) -> None:
        pass

    def find(self, spec: GrammarSpec) -> Grammar | None:
        return None

    def compile(self, spec: GrammarSpec) -> Grammar:
        raise InvalidRequestError("This engine has no grammars.")

    def fill_masks(self, constraints: Sequence[TokenConstraint], masks: Masks) -> None:
        for constraint, mask in zip(constraints, masks, strict=True):
            constraint.fill_mask(mask)


Compiled = tuple[Submit, Grammar | OctavoError]


class _Job:
    """One grammar, and who waits for it."""

    def __init__(self, spec: GrammarSpec, now: float) -> None:
        self.spec = spec
        self.submits: list[Submit] = []
        self.first_id = ""
        self.queued = now
        self.started: float | None = None  # None also while what all grammars need is being loaded
        self.result: Grammar | OctavoError | None = None


class Compiling:
    """seconds on clock; compile_seconds and queue_seconds bound how long a grammar may take, and wait."""

    def __init__(
        self,
        grammars: Grammars,
        *,
        clock: Callable[[], float] = time.monotonic,
        compile_seconds: float = COMPILE_SECONDS,
        queue_seconds: float = QUEUE_SECONDS,
    ) -> None:
        self._grammars = grammars
        self._clock = clock
        self._compile_seconds = compile_seconds
        self._queue_seconds = queue_seconds
        self._ready: list[Compiled] = []
        self._queued: collections.OrderedDict[GrammarSpec, _Job] = collections.OrderedDict()
        self._running: dict[GrammarSpec, _Job] = {}  # whose threads may still be in time
        self._threads: set[_Job] = set()  # all that have not ended
        self._change = threading.Condition()  # guards _threads and _Job.result

    def __bool__(self) -> bool:
        """Somebody waits here."""
        return bool(self._ready or self._queued or any(job.submits for job in self._running.values()))

    @property
    def num_threads(self) -> int:
        return len(self._threads)

    @property
    def request_ids(self) -> list[str]:
        """One for each grammar that is being compiled, also of those whose time is over."""
        return [job.first_id for job in self._threads]

    def add(self, submit: Submit) -> None:
        spec = submit.grammar
        assert spec is not None
        grammar = self._grammars.find(spec)
        if grammar is not None:
            self._ready.append((submit, grammar))
            return
        job = self._running.get(spec) or self._queued.get(spec)
        if job is None:
            job = self._queued[spec] = _Job(spec, self._clock())
        job.submits.append(submit)
        self._start_threads()

    def remove(self, request_ids: Sequence[str]) -> None:
        """These are not wanted any more; unknown ids are ignored. A compile that has begun goes on."""
        gone = frozenset(request_ids)
        self._ready = [item for item in self._ready if item[0].request_id not in gone]
        for job in (*self._queued.values(), *self._running.values()):
            job.submits = [submit for submit in job.submits if submit.request_id not in gone]
        for spec in [spec for spec, job in self._queued.items() if not job.submits]:
            del self._queued[spec]

    def take(self) -> list[Compiled]:
        """Those that need wait no longer, each with its grammar, or with the error that refuses it."""
        self._end_jobs()
        self._start_threads()
        ready, self._ready = self._ready, []
        return ready

    def wait(self, seconds: float) -> None:
        """Until a compile ends, so long at most."""
        with self._change:
            if self._ready or any(job.result is not None for job in self._running.values()):
                return
            self._change.wait(seconds)

    def _end_jobs(self) -> None:
        now = self._clock()
        for job in list(self._running.values()):
            with self._change:
                result = job.result
            if result is None and job.started is not None and now - job.started > self._compile_seconds:
                result = InvalidRequestError(
                    f"The grammar takes more than {self._compile_seconds:g} s to compile, the most allowed."
                )
            if result is not None:
                del self._running[job.spec]
                self._ready += [(submit, result) for submit in job.submits]
        for job in list(self._queued.values()):
            if now - job.queued > self._queue_seconds:
                del self._queued[job.spec]
                error = EngineError("Other grammars take too long to compile; try again later.")
                self._ready += [(submit, error) for submit in job.submits]

    def _start_threads(self) -> None:
        while self._queued and len(self._threads) < MAX_THREADS:
            spec, job = self._queued.popitem(last=False)
            job.first_id = job.submits[0].request_id
            self._running[spec] = job
            with self._change:
                self._threads.add(job)
            threading.Thread(target=self._compile, args=(job,), name="compile-grammar", daemon=True).start()

    def _compile(self, job: _Job) -> None:
        """In a thread."""
        result: Grammar | OctavoError
        try:
            self._grammars.prepare()
            job.started = self._clock()
            result = self._grammars.compile(job.spec)
        except OctavoError as error:
            result = error
        except Exception as error:
            traceback.print_exception(error)
            result = EngineError(f"The grammar could not be compiled: {type(error).__name__}.")
        with self._change:
            job.result = result
            self._threads.remove(job)
            self._change.notify_all()
