"""A back end that kills its process in every step that computes a prompt with a given token in it, and a
compiler of grammars that does so for every grammar."""

import os
import resource
from typing import Any

from octavo.backends.base import Backend
from octavo.core.grammar_spec import GrammarSpec
from octavo.core.step import StepInput, StepOutput, Ticket
from octavo.engine.compiling import Grammar, NoGrammars


class DeadlyBackend:
    """Passes everything on to backend, and leaves no core dump behind."""

    def __init__(self, backend: Backend, killer: int) -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self._backend = backend
        self._killer = killer
        self._deadly_slots: set[int] = set()

    def submit(self, step: StepInput) -> Ticket:
        for admission in step.admitted:
            is_deadly = self._killer in admission.token_ids[: admission.prompt_length]
            (self._deadly_slots.add if is_deadly else self._deadly_slots.discard)(admission.slot)
        if self._deadly_slots.intersection(step.slot.tolist()):
            os.abort()
        return self._backend.submit(step)

    def collect(self, ticket: Ticket, masks: Any = None) -> StepOutput:
        return self._backend.collect(ticket, masks)

    def close(self) -> None:
        self._backend.close()


class DeadlyGrammars(NoGrammars):
    def compile(self, spec: GrammarSpec) -> Grammar:
        os.abort()
