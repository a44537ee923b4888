"""Requests whose grammar is being compiled: held here until it is, then admitted or refused.

A few threads compile, one grammar after the other, whatever the steps take meanwhile; tenants take turns. A
compile has bounded time: whoever takes longer is refused, and the thread left to go on when it can. Runs in
the engine process; everything public is called by the step loop.
"""

import itertools
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Protocol

from octavo.core.errors import EngineError, InvalidRequestError, OctavoError, OverloadedError
from octavo.core.grammar_spec import GrammarSpec
from octavo.core.messages import OVERLOAD_RETRY_SECONDS, Submit
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

    def __init__(self, submit: Submit, now: float) -> None:
        assert submit.grammar is not None
        self.spec = submit.grammar
        self.tenant = submit.tenant
        self.submits = [submit]
        self.queued = now
        self.started: float | None = None  # None also while what all grammars need is being loaded
        self.result: Grammar | OctavoError | None = None


def _note_nothing(place: int, request_id: str) -> None:
    pass


class Compiling:
    """seconds on clock; compile_seconds and queue_seconds bound how long a grammar may take, and wait.
    note is told in which place (0 to MAX_THREADS - 1) a grammar of which request is compiled; "": of none.
    """

    def __init__(
        self,
        grammars: Grammars,
        *,
        note: Callable[[int, str], None] = _note_nothing,
        clock: Callable[[], float] = time.monotonic,
        compile_seconds: float = COMPILE_SECONDS,
        queue_seconds: float = QUEUE_SECONDS,
    ) -> None:
        self._grammars = grammars
        self._note = note
        self._clock = clock
        self._compile_seconds = compile_seconds
        self._queue_seconds = queue_seconds
        self._ready: list[Compiled] = []
        self._change = threading.Condition()  # guards all that follows
        self._queued: dict[GrammarSpec, _Job] = {}
        self._running: dict[GrammarSpec, _Job] = {}  # that may still be in time
        self._places: list[_Job | None] = [None] * MAX_THREADS  # what each thread is at; None: there is none
        self._turns: dict[str, int] = {}  # of tenants, since last nobody waited: the number of the latest
        self._turn_numbers = itertools.count(1)

    def __bool__(self) -> bool:
        """Somebody waits here."""
        if not (self._ready or self._queued or self._running):  # asked in every step: without the lock
            return False
        with self._change:
            return bool(self._ready or self._queued or any(job.submits for job in self._running.values()))

    @property
    def num_threads(self) -> int:
        with self._change:
            return sum(job is not None for job in self._places)

    def add(self, submit: Submit) -> None:
        spec = submit.grammar
        assert spec is not None
        grammar = self._grammars.find(spec)
        if grammar is not None:
            self._ready.append((submit, grammar))
            return
        with self._change:
            job = self._running.get(spec) or self._queued.get(spec)
            if job is not None:
                job.submits.append(submit)
            else:
                self._queued[spec] = _Job(submit, self._clock())
                self._start_thread()

    def remove(self, request_ids: Sequence[str]) -> None:
        """These are not wanted any more; unknown ids are ignored. A compile that has begun goes on."""
        gone = frozenset(request_ids)
        self._ready = [item for item in self._ready if item[0].request_id not in gone]
        with self._change:
            for job in (*self._queued.values(), *self._running.values()):
                job.submits = [submit for submit in job.submits if submit.request_id not in gone]
            for spec in [spec for spec, job in self._queued.items() if not job.submits]:
                del self._queued[spec]

    def take(self) -> list[Compiled]:
        """Those that need wait no longer, each with its grammar, or with the error that refuses it."""
        with self._change:
            self._end_jobs()
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
                error = OverloadedError(
                    "Other grammars take too long to compile; try again later.",
                    retry_after_seconds=OVERLOAD_RETRY_SECONDS,
                )
                self._ready += [(submit, error) for submit in job.submits]

    def _start_thread(self) -> None:
        """If there is a place for it."""
        if None in self._places:
            place = self._places.index(None)
            job = self._give_work(place)
            threading.Thread(
                target=self._work, args=(place, job), name="compile-grammar", daemon=True
            ).start()

    def _give_work(self, place: int) -> _Job | None:
        """The one that waits longest, of the tenant whose last turn is longest ago."""
        job = min(self._queued.values(), key=lambda job: self._turns.get(job.tenant, 0), default=None)
        self._places[place] = job
        if job is None:
            self._turns.clear()
            self._note(place, "")
            return None
        self._turns[job.tenant] = next(self._turn_numbers)
        self._running[job.spec] = job
        del self._queued[job.spec]  # not before it is there: who looks sees it in one of them
        self._note(place, job.submits[0].request_id)
        return job

    def _work(self, place: int, job: _Job | None) -> None:
        """In a thread: until nobody waits."""
        while job is not None:
            result = self._compile(job)
            with self._change:
                job.result = result
                job = self._give_work(place)
                self._change.notify_all()

    def _compile(self, job: _Job) -> Grammar | OctavoError:
        try:
            self._grammars.prepare()
            job.started = self._clock()
            return self._grammars.compile(job.spec)
        except OctavoError as error:
            return error
        except Exception as error:
            traceback.print_exception(error)
            return EngineError(f"The grammar could not be compiled: {type(error).__name__}.")
